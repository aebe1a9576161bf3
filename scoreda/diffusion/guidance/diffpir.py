r"""DiffPIR: the denoised state moves to the point that best fits the observations and stays near it.

$$ \hat x_y = \mathrm{argmin}_x\; \| y - H x \|_R^2 + \frac{\lambda \alpha_t^2}{\sigma_t^2} \| x - \hat x \|^2
   = \hat x + V H^\top (R + H V H^\top)^{-1} (y - h(\hat x)), \quad V = \frac{\sigma_t^2}{\lambda \alpha_t^2} I $$

A nonlinear operator is linearised at $\hat x$. The proximal step alone: the noise that follows it is the sampler's.

Source: Zhu et al. (2023), Denoising diffusion models for plug-and-play image restoration,
https://arxiv.org/abs/2305.08995
"""

from collections.abc import Callable

from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.guidance.base import Guidance, Linearised
from scoreda.diffusion.schedules import expand

__all__ = ["DiffPIR"]


class DiffPIR(Guidance):
    """The proximal step of DiffPIR.

    Args:
        denoiser: The prior.
        y: Observations, `(Ny,)` or `(B, Ny)`; NaN where missing.
        H: Operator from states `(B, *)` to `(B, Ny)`, differentiable by torch.
        R: Observation-error covariance: a scalar variance, variances `(Ny,)`, or a matrix `(Ny, Ny)`.
        lam: Lambda, how much the prior counts; the paper takes 1 to 25.
        weight: As for every `Guidance`.

    Exact: never; an observation reaches only the variables that it sees. With `lam=1` and an operator that selects it
    is `ConstantDerivative` with a derivative of 0. With one that is not linear, its V, which has no bound, takes
    early steps far beyond where the linearisation holds, and few of them come back.
    """

    name = "diffpir"
    jacobian = False

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        H: Callable[[Tensor], Tensor],
        R: Tensor | float,
        lam: float = 1.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(denoiser, y, H, R, weight)
        if not lam > 0:
            raise ValueError(f"`lam` must be positive, got {lam}.")
        self.lam = lam

    def guide(self, at: Linearised) -> Tensor:
        """Return the proximal point."""
        return at.x_hat + at.update(lambda v: expand(at.s**2 / self.lam, v) * v)
