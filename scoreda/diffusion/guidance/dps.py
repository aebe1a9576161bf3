r"""Diffusion posterior sampling: the likelihood of the denoised state, as if that were the state.

$$ g = -\nabla_{x_t} \tfrac12 \| y - h(\hat x) \|_R^2 \qquad \text{or, normalised,} \qquad
   g = -\zeta\, \nabla_{x_t} \| y - h(\hat x) \|_R, $$

with $\| r \|_R^2 = r^\top R^{-1} r$. The paper's norm is that of R = I: with a scalar R its $\zeta$ is ours divided by
the standard deviation of the observation error.

Source: Chung et al. (2023), Diffusion posterior sampling for general noisy inverse problems, algorithm 1,
https://arxiv.org/abs/2209.14687
"""

from collections.abc import Callable

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.guidance.base import Guidance, Linearised

__all__ = ["DPS"]


class DPS(Guidance):
    """Diffusion posterior sampling.

    Args:
        denoiser: The prior.
        y: Observations, `(Ny,)` or `(B, Ny)`; NaN where missing.
        H: Operator from states `(B, *)` to `(B, Ny)`, differentiable by torch.
        R: Observation-error covariance: a scalar variance, variances `(Ny,)`, or a matrix `(Ny, Ny)`.
        zeta: Strength of the normalised gradient; None for the plain one, which is the Gaussian likelihood's.
        weight: As for every `Guidance`.

    Exact: never. Without any spread of x given x_t it follows the observations too closely, and an explicit sampler is
    unstable where a step is large against R: 20 Heun steps on Lorenz96 are, at an error of .1 (normalised). The
    normalised gradient, zeta near 1, is stable there.
    """

    name = "dps"

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        H: Callable[[Tensor], Tensor],
        R: Tensor | float,
        zeta: float | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(denoiser, y, H, R, weight)
        self.zeta = zeta

    def guide(self, at: Linearised) -> Tensor:
        """Return x_hat + (sigma_t^2 / alpha_t) g."""
        u = at.weigh()
        if self.zeta is not None:
            norm = (at.residual * u).sum(-1, keepdim=True).sqrt()
            u = self.zeta * u / norm.clamp_min(torch.finfo(u.dtype).tiny)
        return at.x_hat + at.V(at.H_transpose(u))
