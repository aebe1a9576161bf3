"""What every schedule offers, and what follows from it for all of them alike."""

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = [
    "Schedule",
    "TerminalSignalWarning",
    "diffusion",
    "drift",
    "expand",
    "log_snr",
    "noised",
    "noised_stepwise",
    "ratio",
    "terminal_ratio",
    "transition",
    "warn_of_terminal_signal",
    "white_noise",
]

NEGLIGIBLE = 0.05


class TerminalSignalWarning(UserWarning):
    """A schedule leaves so much of the signal at t = 1 that samples which start from pure noise there are biased."""


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


def warn_of_terminal_signal(schedule: Schedule, fix: str) -> None:
    """Warn if alpha / sigma at t = 1 is not negligible beside data of unit variance; for the end of a constructor."""
    left = 1 / terminal_ratio(schedule)
    if left > NEGLIGIBLE:
        warnings.warn(
            f"schedule '{schedule.name}' ends with alpha / sigma = {left:.2g}: signal is left where samplers start "
            f"from pure noise. {fix}",
            TerminalSignalWarning,
            stacklevel=3,
        )


def terminal_ratio(schedule: Schedule) -> float:
    """Return sigma / alpha at t = 1, where samplers start."""
    one = torch.ones((), dtype=torch.float64)
    return float(schedule.sigma(one) / schedule.alpha(one))


def ratio(schedule: Schedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return `alpha_t` and the noise-to-signal ratio `sigma_t / alpha_t`, shaped to broadcast against `x`."""
    alpha_t = schedule.alpha(t)
    return expand(alpha_t, x), expand(schedule.sigma(t) / alpha_t, x)


def log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    """Return ln(alpha_t^2 / sigma_t^2), the log signal-to-noise ratio."""
    return 2 * (schedule.alpha(t).log() - schedule.sigma(t).log())


def drift(schedule: Schedule, t: Tensor) -> Tensor:
    """Return `f(t)` of the forward equation dx = f x dt + g dw, that is d ln(alpha) / dt."""
    return _derivative(lambda u: schedule.alpha(u).log(), t)


def diffusion(schedule: Schedule, t: Tensor) -> Tensor:
    """Return `g(t)` of the forward equation; g^2 = d sigma^2 / dt - 2 f sigma^2 (Song et al. 2021, eq. 29)."""
    growth = _derivative(lambda u: schedule.sigma(u) ** 2, t)
    return (growth - 2 * drift(schedule, t) * schedule.sigma(t) ** 2).clamp_min(0).sqrt()


def _derivative(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """Return the derivative at every time; backwards, which costs a sampler's step a sixth of what `jvp` does."""
    with torch.enable_grad():
        u = t.detach().requires_grad_()
        return torch.autograd.grad((function(u) + 0 * u).sum(), u)[0]  # a constant depends on u too


def transition(schedule: Schedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return factor and standard deviation of p(x_t | x_s) for `s < t`, the exact Gaussian step of the forward SDE."""
    factor = schedule.alpha(t) / schedule.alpha(s)
    return factor, (schedule.sigma(t) ** 2 - (factor * schedule.sigma(s)) ** 2).clamp_min(0).sqrt()


def noised(schedule: Schedule, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Return `x_t = alpha_t x + sigma_t eps` of clean `x`; `t` a scalar or `(B,)`."""
    return expand(schedule.alpha(t), x) * x + expand(schedule.sigma(t), x) * eps


def noised_stepwise(schedule: Schedule, x: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
    """Return `x_t` along increasing `times`, step by step from clean `x`; shape `(len(times), *x.shape)`."""
    states = [noised(schedule, x, times[0], white_noise(x, generator))]
    for s, t in zip(times[:-1], times[1:], strict=True):
        factor, std = transition(schedule, s, t)
        states.append(factor * states[-1] + std * white_noise(x, generator))
    return torch.stack(states)


def white_noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return white noise of the shape, dtype and device of `x`; the generator may be on another device."""
    return torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype).to(x.device)


def expand(v: Tensor, x: Tensor) -> Tensor:
    """Give `v` (a scalar or one value per batch row) the trailing dimensions that broadcast against `x`."""
    return v.reshape(v.shape + (1,) * (x.ndim - v.ndim)) if v.ndim else v
