"""The variance-exploding schedule."""

import math
from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.schedules.base import warn_of_terminal_signal
from scoreda.errors import require_numbers

__all__ = ["VE"]


class VE:
    r"""The VE SDE: no scaling of the signal, noise levels in geometric progression.

    $$ \alpha_t = 1, \quad \sigma_t = \sigma_{min} (\sigma_{max} / \sigma_{min})^t,
       \quad g = \sigma_t \sqrt{2 \ln(\sigma_{max} / \sigma_{min})} $$

    Args:
        sigma_min: Noise at t = 0, in units of the normalised data.
        sigma_max: Noise at t = 1; far above the data's spread.

    Source: Song et al. (2021), eq. 9 and 30, https://arxiv.org/abs/2011.13456
    """

    name = "ve"

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0) -> None:
        require_numbers(sigma_min=sigma_min, sigma_max=sigma_max)
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(f"need 0 < sigma_min < sigma_max, both finite, got {sigma_min}, {sigma_max}.")
        self.sigma_min, self.sigma_max = float(sigma_min), float(sigma_max)
        self._log_span = math.log(sigma_max / sigma_min)
        warn_of_terminal_signal(self, "Raise `sigma_max`.")

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise standard deviation at `t`."""
        return self.sigma_min * torch.exp(t * self._log_span)

    def time(self, ratio: Tensor | float) -> Tensor:
        """Return the `t` of a noise standard deviation; outside [sigma_min, sigma_max] it extrapolates."""
        return torch.log(torch.as_tensor(ratio) / self.sigma_min) / self._log_span

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
        return dict(name=self.name, sigma_min=self.sigma_min, sigma_max=self.sigma_max)
