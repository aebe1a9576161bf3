r"""What schedules given by a rate $\beta$ share: the forward equation $dx = -\tfrac12 \beta x\, du + g\, dw$.

A process that starts at $u = 0$ has no noise there, which no score survives. So `t = 0` is the clock's `u = t_min`, and
`t` runs evenly from there to `u = 1`; drift and diffusion with respect to `t` are those of the paper times du / dt.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor

from scoreda.errors import require_numbers

__all__ = ["LinearRate", "Rate", "VariancePreserving"]


class LinearRate:
    r"""A rate $\beta_u = \beta_{min} + u (\beta_{max} - \beta_{min})$ and its integral, on the clock of a schedule.

    Args:
        beta_min: Rate at u = 0.
        beta_max: Rate at u = 1.
        t_min: The u at which t = 0.

    Raises:
        ValueError: unless 0 <= beta_min <= beta_max, beta_max > 0 and 0 < t_min < 1.
    """

    def __init__(self, beta_min: float, beta_max: float, t_min: float) -> None:
        require_numbers(beta_min=beta_min, beta_max=beta_max, t_min=t_min)
        if not (0 <= beta_min <= beta_max < float("inf") and beta_max > 0 and 0 < t_min < 1):
            raise ValueError(
                "need 0 <= beta_min <= beta_max, beta_max > 0 and 0 < t_min < 1, "
                f"got beta_min={beta_min}, beta_max={beta_max}, t_min={t_min}."
            )
        self.beta_min, self.beta_max, self.t_min = float(beta_min), float(beta_max), float(t_min)

    def integral(self, t: Tensor) -> Tensor:
        """Return B, the integral of the rate from the clock's 0 to the u of `t`."""
        u = self.t_min + t * (1 - self.t_min)
        return self.beta_min * u + (self.beta_max - self.beta_min) * u**2 / 2

    def time_of(self, B: Tensor) -> Tensor:
        """Return the `t` of an integral; the form of the root is stable for a constant rate, too."""
        u = 2 * B / (self.beta_min + (self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * B).sqrt())
        return (u - self.t_min) / (1 - self.t_min)


class Rate(Protocol):
    """The integral B of a rate of noise, and its inverse."""

    def integral(self, t: Tensor) -> Tensor:
        """Return B at `t`."""
        ...

    def time_of(self, B: Tensor) -> Tensor:
        """Return the `t` at which the integral is `B`; beyond the ends it extrapolates."""
        ...


class VariancePreserving(ABC):
    r"""A schedule by the integral B of its `rate`: $\alpha_t = e^{-B/2}$, $\sigma_t^2 = 1 - e^{-B}$.

    Source: Song et al. (2021), Score-based generative modeling through stochastic differential equations, eq. 11 and
    29, https://arxiv.org/abs/2011.13456
    """

    rate: Rate

    def alpha(self, t: Tensor) -> Tensor:
        """Return the signal scale at `t`."""
        return torch.exp(-self.rate.integral(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise standard deviation at `t`."""
        return (-torch.expm1(-self.rate.integral(t))).sqrt()

    def time(self, ratio: Tensor | float) -> Tensor:
        """Return the `t` at which sigma / alpha equals `ratio`; beyond the ends it extrapolates."""
        return self.rate.time_of(torch.log1p(torch.as_tensor(ratio) ** 2))

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
