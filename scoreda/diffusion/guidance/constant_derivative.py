r"""Guidance with a constant for the derivative of the score, so that nothing is differentiated but the operator.

With a number d in place of $\partial s / \partial x$, the score $s$ of the prior, and $m = \hat x$,

$$ V = R + (\sigma_t^2 + \sigma_t^4 d) / \alpha_t^2, \qquad g = H^\top V^{-1} (y - H m) / \alpha_t. $$

The d enters V but not the Jacobian of m, of which the part $1 / \alpha_t$ alone is kept: an observation never reaches a
variable that it does not see.

Source: Yasuda (2026), https://github.com/YukiYasuda2718/tutorial-diffusion-frameworks, `src/frameworks/sda.py`
"""

from collections.abc import Callable

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.guidance.base import Guidance, Linearised
from scoreda.diffusion.schedules import expand

__all__ = ["ConstantDerivative"]


class ConstantDerivative(Guidance):
    r"""The guidance of the diffusion tutorial that scoreda grew from.

    Args:
        denoiser: The prior.
        y: Observations, `(Ny,)` or `(B, Ny)`; NaN where missing.
        H: Operator that selects variables, all of them in the source; of others $H H^\top$ is taken for the identity.
        R: Observation-error covariance: a scalar variance, variances `(Ny,)`, or a matrix `(Ny, Ny)`.
        derivative: d, which stands for ds/dx. 0 in the source; -1 is right for white data of unit variance under VP.
        weight: As for every `Guidance`.

    Exact: never. With d = 0 it gives the observations too much weight and leaves unobserved variables too wide; with
    d = -1 it collapses onto the observations.

    Raises:
        ValueError: if `derivative` makes the variance of the denoised state negative at t = 1.
    """

    name = "constant_derivative"
    jacobian = False

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        H: Callable[[Tensor], Tensor],
        R: Tensor | float,
        derivative: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(denoiser, y, H, R, weight)
        variance = float(self.schedule.sigma(torch.ones((), dtype=torch.float64))) ** 2
        if 1 + variance * derivative < 0:
            raise ValueError(f"`derivative` must be at least -1 / sigma^2 = {-1 / variance:.3g}, got {derivative}.")
        self.derivative = derivative

    def guide(self, at: Linearised) -> Tensor:
        """Return m + (sigma_t^2 / alpha_t) g."""
        sigma_t = at.s * at.alpha_t
        u = at.weigh((sigma_t**2 + sigma_t**4 * self.derivative) / at.alpha_t**2)
        return at.x_hat + expand(at.s**2, at.x_hat) * at.H_transpose(u)
