r"""Noise levels to train on, as ratios $\sigma_t / \alpha_t$.

A law of noise levels is where most of a network's capacity goes, and it need not be the law of the sampler's steps.
All of them are cut off at e^-9 and e^9, beyond which single precision tells nothing apart.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scoreda.diffusion.schedules import Schedule

if TYPE_CHECKING:
    from scoreda.diffusion.training.settings import TrainSettings

__all__ = ["LEVELS", "draw_levels", "log_normal_sigma"]

Law = Callable[[int, "TrainSettings", Schedule, torch.Generator], Tensor]


def log_normal_sigma(shape: tuple[int, ...], mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Draw training noise levels, ln sigma ~ N(mean, std^2) (Karras et al. 2022, section 5)."""
    draw = torch.randn(shape, generator=generator, device=generator.device)
    return _bounded(torch.exp(mean + std * draw))


def draw_levels(number: int, s: "TrainSettings", schedule: Schedule, generator: torch.Generator) -> Tensor:
    """Draw noise levels, shape `(number,)`, by the law that the settings name."""
    return LEVELS[s.levels](number, s, schedule, generator)


def _log_normal(number: int, s: "TrainSettings", schedule: Schedule, generator: torch.Generator) -> Tensor:
    return log_normal_sigma((number,), s.sigma_mean, s.sigma_std, generator)


def _uniform_time(number: int, s: "TrainSettings", schedule: Schedule, generator: torch.Generator) -> Tensor:
    """Uniform in time, t ~ U(0, 1): the density of noise levels is the schedule's own (Song et al. 2021, eq. 7)."""
    return _at(schedule, torch.rand(number, generator=generator, device=generator.device))


def _uniform_step(number: int, s: "TrainSettings", schedule: Schedule, generator: torch.Generator) -> Tensor:
    """Uniform over the steps of a discrete schedule, t = (k - 1) / (T - 1) (Ho et al. 2020, algorithm 1)."""
    steps = getattr(schedule, "steps", s.level_steps)
    k = torch.randint(steps, (number,), generator=generator, device=generator.device)
    return _at(schedule, k / max(steps - 1, 1))


def _at(schedule: Schedule, t: Tensor) -> Tensor:
    return _bounded(schedule.sigma(t) / schedule.alpha(t))


def _bounded(ratio: Tensor) -> Tensor:
    return ratio.clamp(math.exp(-9.0), math.exp(9.0))


LEVELS: dict[str, Law] = {"log_normal": _log_normal, "uniform_time": _uniform_time, "uniform_step": _uniform_step}
