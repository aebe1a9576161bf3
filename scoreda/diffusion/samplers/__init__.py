r"""Samplers: from noise to data.

With $\hat x = E[x \mid x_t]$ and $\hat\epsilon = (x_t - \alpha_t \hat x) / \sigma_t$ the probability-flow ODE of
every schedule reads $dx_t = \hat x\, d\alpha_t + \hat\epsilon\, d\sigma_t$, so a sampler is one quadrature step of that
equation.
"""

from scoreda.diffusion.samplers.base import Sampler, noise
from scoreda.diffusion.samplers.heun import HeunSampler

__all__ = ["SAMPLERS", "HeunSampler", "Sampler", "noise"]

SAMPLERS = {"heun": HeunSampler}
