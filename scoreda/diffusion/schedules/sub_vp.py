"""The sub-VP schedule."""

from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.schedules.base import warn_of_terminal_signal
from scoreda.diffusion.schedules.rate import LinearRate

__all__ = ["SubVP"]


class SubVP:
    r"""The sub-VP SDE, whose variance stays below that of the VP SDE of the same rate.

    $$ \alpha_t = e^{-B/2}, \quad \sigma_t = 1 - e^{-B}, \quad g^2 = \beta (1 - e^{-2B}) $$

    Args:
        beta_min: Rate at u = 0.
        beta_max: Rate at u = 1.
        t_min: The u at which t = 0, as the source samples with; sigma there is .0001.

    Source: Song et al. (2021), eq. 12 and 29, https://arxiv.org/abs/2011.13456
    """

    name = "sub_vp"

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-3) -> None:
        self.rate = LinearRate(beta_min, beta_max, t_min)
        warn_of_terminal_signal(self, "Raise `beta_max`.")

    def alpha(self, t: Tensor) -> Tensor:
        """Return the signal scale at `t`."""
        return torch.exp(-self.rate.integral(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise standard deviation at `t`."""
        return -torch.expm1(-self.rate.integral(t))

    def time(self, ratio: Tensor | float) -> Tensor:
        """Return the `t` at which sigma / alpha = 2 sinh(B / 2) equals `ratio`; beyond the ends it extrapolates."""
        return self.rate.time_of(2 * torch.asinh(torch.as_tensor(ratio) / 2))

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
        return dict(name=self.name, beta_min=self.rate.beta_min, beta_max=self.rate.beta_max, t_min=self.rate.t_min)
