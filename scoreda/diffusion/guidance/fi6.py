r"""The guidance of FI6: the noise of the schedule, as a variance of the observations.

$$ g = \nabla_{x_t} \Big[ -\tfrac12 \| y - h(\hat x) \|^2 / (R + \sigma_t^2) \Big] $$

where the source's $\sigma_t$ is the noise-to-signal ratio, $\sigma^2 = 1 / r^2 - 1$ under VP. It is added in the space
of the observations, whatever the operator does to a state's units.

Source: Ueda (2026), https://github.com/UedaKenji/FI6_inverse_diffusion_model
"""

from torch import Tensor

from scoreda.diffusion.guidance.base import Guidance, Linearised

__all__ = ["FI6"]


class FI6(Guidance):
    """FI6's guidance; arguments are those of every `Guidance`.

    Exact: never; it gives the observations too little weight, since the ratio overstates the spread of x given x_t.
    """

    name = "fi6"

    def guide(self, at: Linearised) -> Tensor:
        """Return x_hat + (sigma_t^2 / alpha_t) g."""
        u = at.weigh(at.s**2)
        return at.x_hat + at.V(at.H_transpose(u))
