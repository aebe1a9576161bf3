r"""Jacobian-free posterior sampling: the covariance of x given x_t that Gaussian data would have.

$$ V = (\Sigma_x^{-1} + \alpha_t^2 / \sigma_t^2)^{-1}, \qquad
   \hat x_y = \hat x + V H^\top (R + H V H^\top)^{-1} (y - h(\hat x)) $$

No network is differentiated, so that a call costs one evaluation of the denoiser.

Source: the method of this name in https://github.com/probabilists/azula; Rozet and Louppe (2023) start from the same
V in section 3.2, https://arxiv.org/abs/2306.10574
"""

from collections.abc import Callable

from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.guidance.base import Guidance, Linearised
from scoreda.diffusion.guidance.covariance import Eigenbasis

__all__ = ["JFPS"]


class JFPS(Guidance):
    """Jacobian-free posterior sampling.

    Args:
        denoiser: The prior.
        y: Observations, `(Ny,)` or `(B, Ny)`; NaN where missing.
        H: Operator from states `(B, *)` to `(B, Ny)`, differentiable by torch.
        R: Observation-error covariance: a scalar variance, variances `(Ny,)`, or a matrix `(Ny, Ny)`.
        covariance: Of the data, `(n, n)` or circulant (see `Eigenbasis`).
        weight: As for every `Guidance`.

    Exact when: the prior is Gaussian with this covariance and `H` linear.
    """

    name = "jfps"
    jacobian = False

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        H: Callable[[Tensor], Tensor],
        R: Tensor | float,
        covariance: Tensor,
        weight: float = 1.0,
    ) -> None:
        super().__init__(denoiser, y, H, R, weight)
        self.basis = Eigenbasis(covariance)

    def guide(self, at: Linearised) -> Tensor:
        """Return E[x | x_t, y] if the data were Gaussian."""
        return at.x_hat + at.update(lambda v: self.basis.apply(_gain, at.s, v))


def _gain(values: Tensor, s: Tensor) -> Tensor:
    """Return 1 / (1 / values + 1 / s^2), zero where `values` is."""
    return values * s**2 / (values + s**2)
