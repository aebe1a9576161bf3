r"""Denoisers: $\hat x(x_t, t) = E[x \mid x_t]$, learned or exact.

A denoiser is anything that is called as `denoiser(x_t, t)` and carries its `schedule`. The score follows from it,
$\nabla \log p(x_t) = (\alpha_t \hat x - x_t) / \sigma_t^2$ (Tweedie). A guidance method is a denoiser that wraps one.
"""

from scoreda.diffusion.denoisers.base import Denoiser
from scoreda.diffusion.denoisers.gaussian import CirculantGaussian, GaussianDenoiser
from scoreda.diffusion.denoisers.karras import KarrasDenoiser

__all__ = ["CirculantGaussian", "Denoiser", "GaussianDenoiser", "KarrasDenoiser"]
