r"""Noise schedules: how much signal and how much noise at diffusion time `t`.

Every schedule rests on one kernel, $p(x_t \mid x) = N(\alpha_t x, \sigma_t^2 I)$, with `t = 0` (almost) clean and
`t = 1` noise. One schedule object serves training, sampling and guidance, and is stored with the weights.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from scoreda.errors import ScoredaError, suggest

__all__ = ["EDM", "SCHEDULES", "Schedule", "VPCosine", "expand", "schedule_from_spec"]


class Schedule(Protocol):
    """`alpha(t)` and `sigma(t)`, decreasing ratio alpha/sigma; `time(sigma)` inverts the ratio sigma/alpha."""

    name: str

    def alpha(self, t: Tensor) -> Tensor:
        """Return the signal scale."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise standard deviation."""
        ...

    def time(self, ratio: Tensor | float) -> Tensor:
        """Return the `t` at which sigma / alpha equals `ratio`."""
        ...

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
        ...


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
        if not (0 < sigma_min < sigma_max < math.inf and 0 < rho < math.inf):
            raise ValueError(
                f"need 0 < sigma_min < sigma_max and rho > 0, all finite, got {sigma_min}, {sigma_max}, {rho}."
            )
        self.sigma_min, self.sigma_max, self.rho = float(sigma_min), float(sigma_max), float(rho)
        self._low, self._high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)

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


class VPCosine:
    r"""The variance-preserving schedule $\alpha_t = \cos\theta_t$, $\sigma_t = \sin\theta_t$, angles spaced like EDM's.

    $$ \theta_t = (\theta_{min}^{1/\rho} (1 - t) + \theta_{max}^{1/\rho} t)^\rho $$

    White data of unit variance do not move at all along its probability-flow ODE, so it needs the fewest steps where
    the data are normalised: 20 Heun steps give a Gaussian posterior's spread to 1 % where EDM's coordinates give 7 %.

    Args:
        theta_min: Angle at t = 0, the noise-to-signal ratio there.
        margin: pi / 2 minus the angle at t = 1, the signal-to-noise ratio there.
        rho: 1 for uniform angles; larger values spend more steps at small noise.
    """

    name = "vp_cosine"

    def __init__(self, theta_min: float = 0.01, margin: float = 0.001, rho: float = 3.0) -> None:
        if not (0 < theta_min < math.pi / 2 - margin and margin > 0 and 0 < rho < math.inf):
            raise ValueError(
                "need 0 < theta_min < pi/2 - margin, margin > 0 and a finite rho > 0, "
                f"got theta_min={theta_min}, margin={margin}, rho={rho}."
            )
        self.theta_min, self.margin, self.rho = float(theta_min), float(margin), float(rho)
        self._low, self._high = theta_min ** (1 / rho), (math.pi / 2 - margin) ** (1 / rho)

    def _theta(self, t: Tensor) -> Tensor:
        return (self._low + t * (self._high - self._low)) ** self.rho

    def alpha(self, t: Tensor) -> Tensor:
        """Return the signal scale at `t`."""
        return torch.cos(self._theta(t))

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise standard deviation at `t`."""
        return torch.sin(self._theta(t))

    def time(self, ratio: Tensor | float) -> Tensor:
        """Return the `t` at which sigma / alpha equals `ratio`."""
        theta = torch.arctan(torch.as_tensor(ratio))
        return (theta ** (1 / self.rho) - self._low) / (self._high - self._low)

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
        return dict(name=self.name, theta_min=self.theta_min, margin=self.margin, rho=self.rho)


SCHEDULES: dict[str, type[EDM] | type[VPCosine]] = {EDM.name: EDM, VPCosine.name: VPCosine}


def schedule_from_spec(spec: dict[str, Any]) -> Schedule:
    """Rebuild a schedule from `schedule.spec()`.

    Raises:
        ScoredaError: if there is no schedule of that name.
    """
    settings = dict(spec)
    name = settings.pop("name", "")
    if name not in SCHEDULES:
        raise ScoredaError(f"unknown schedule '{name}'; {suggest(name, SCHEDULES)}")
    return SCHEDULES[name](**settings)


def expand(v: Tensor, x: Tensor) -> Tensor:
    """Give `v` (a scalar or one value per batch row) the trailing dimensions that broadcast against `x`."""
    return v.reshape(v.shape + (1,) * (x.ndim - v.ndim)) if v.ndim else v


def log_normal_sigma(shape: tuple[int, ...], mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Draw training noise levels, ln sigma ~ N(mean, std^2) (Karras et al. 2022, section 5)."""
    draw = torch.randn(shape, generator=generator, device=generator.device)
    return torch.exp(mean + std * draw).clamp(math.exp(-9.0), math.exp(9.0))
