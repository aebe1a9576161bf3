"""The schedule of EDM: no scaling of the signal, noise levels spaced by a power law."""

import math
from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.schedules.base import warn_of_terminal_signal
from scoreda.errors import require_numbers

__all__ = ["EDM"]


class EDM:
    r"""The schedule of Karras et al., without scaling of the signal.

    $$ \alpha_t = 1, \quad \sigma_t = (\sigma_{min}^{1/\rho} (1 - t) + \sigma_{max}^{1/\rho} t)^\rho $$

    Uniform steps in `t` are the paper's time steps.

    Args:
        sigma_min: Noise at t = 0, in units of the normalised data; below the smallest observation error of interest.
        sigma_max: Noise at t = 1; far above the data's spread.
        rho: 7 spends most steps at small noise.

    Source: Karras et al. (2022), Elucidating the design space of diffusion-based generative models, eq. 5,
    https://arxiv.org/abs/2206.00364
    """

    name = "edm"

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> None:
        require_numbers(sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
        if not (0 < sigma_min < sigma_max < math.inf and 0 < rho < math.inf):
            raise ValueError(
                f"need 0 < sigma_min < sigma_max and rho > 0, all finite, got {sigma_min}, {sigma_max}, {rho}."
            )
        self.sigma_min, self.sigma_max, self.rho = float(sigma_min), float(sigma_max), float(rho)
        self._low, self._high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
        warn_of_terminal_signal(self, "Raise `sigma_max`.")

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise standard deviation at `t`."""
        return (self._low + t * (self._high - self._low)) ** self.rho

    def time(self, ratio: Tensor | float) -> Tensor:
        """Return the `t` of a noise standard deviation; outside [sigma_min, sigma_max] it extrapolates."""
        ratio = torch.as_tensor(ratio)
        return (ratio ** (1 / self.rho) - self._low) / (self._high - self._low)

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
        return dict(name=self.name, sigma_min=self.sigma_min, sigma_max=self.sigma_max, rho=self.rho)
