r"""Pseudo-inverse guidance: x given x_t as if the data were white noise of unit variance.

$$ g = (\partial \hat x / \partial x_t)^\top H^\top (r_t^2 H H^\top + R)^{-1} (y - h(\hat x)), \qquad
   r_t^2 = \sigma_t^2 / (\alpha_t^2 + \sigma_t^2) $$

Source: Song et al. (2023), Pseudoinverse-guided diffusion models for inverse problems,
https://openreview.net/forum?id=9_gsMA8MRKQ
"""

from torch import Tensor

from scoreda.diffusion.guidance.base import Guidance, Linearised
from scoreda.diffusion.schedules import expand

__all__ = ["PiGDM"]


class PiGDM(Guidance):
    """Pseudo-inverse guidance, with H linearised where it is not linear; arguments are those of every `Guidance`.

    Exact when: the data are white with unit variance and `H` is linear.
    """

    name = "pigdm"

    def guide(self, at: Linearised) -> Tensor:
        """Return x_hat + (sigma_t^2 / alpha_t) g."""
        r2 = expand(at.s**2 / (1 + at.s**2), at.x_hat)
        u = at.solve(lambda v: r2 * v)
        return at.x_hat + at.V(at.H_transpose(u))
