"""The stochastic sampler of EDM: Heun's method after a little fresh noise."""

import math
from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.samplers.base import Sampler
from scoreda.diffusion.samplers.heun import HeunSampler
from scoreda.diffusion.schedules import transition

__all__ = ["EDMSampler"]


class EDMSampler(Sampler):
    r"""Every step first raises the noise-to-signal ratio by a factor $1 + \gamma$, then takes Heun's step down.

    $\gamma = \min(\mathrm{churn} / \mathrm{steps}, \sqrt 2 - 1)$ inside the bounds and 0 outside. The noise comes from
    the forward equation, so any schedule will do; the paper's has no scaling of the signal. The last step, to zero
    noise, is the denoiser without churn. Without churn this is `HeunSampler`.

    Args:
        denoiser: Any denoiser, guided or not.
        steps: Steps from `start` to zero noise.
        generator: Of the noise; needed unless `churn` is 0.
        churn: S_churn, at least 0; the paper's are 30 to 80.
        lowest: S_tmin, the smallest ratio sigma / alpha that is churned.
        highest: S_tmax, the largest.
        inflation: S_noise, the standard deviation of the fresh noise; slightly above 1 makes up for an overconfident
            network, an exact denoiser needs 1.
        settings: As for every `Sampler`.

    Raises:
        ValueError: if `churn` is negative, or positive without a generator.

    Source: Karras et al. (2022), algorithm 2 and table 5, https://arxiv.org/abs/2206.00364
    """

    def __init__(
        self,
        denoiser: Denoiser,
        steps: int = 18,
        generator: torch.Generator | None = None,
        churn: float = 40.0,
        lowest: float = 0.05,
        highest: float = 50.0,
        inflation: float = 1.0,
        **settings: Any,
    ) -> None:
        super().__init__(denoiser, steps, generator, **settings)
        if churn < 0:
            raise ValueError(f"`churn` must be at least 0, got {churn}. The paper's are 30 to 80.")
        self.heun = HeunSampler(denoiser, steps)
        self.gamma = min(churn / steps, math.sqrt(2) - 1)
        self.lowest, self.highest, self.inflation = lowest, highest, inflation
        if churn > 0:
            self.require_generator()

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier time `s`."""
        return self.heun.step(*self.churned(x_t, t), s)

    def churned(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state with fresh noise and the time at which it has that much."""
        schedule = self.denoiser.schedule
        ratio = schedule.sigma(t) / schedule.alpha(t)
        if self.gamma == 0 or not self.lowest <= ratio <= self.highest:
            return x_t, t
        t_hat = schedule.time((1 + self.gamma) * ratio)
        factor, std = transition(schedule, t, t_hat)
        return factor * x_t + std * self.inflation * self.draw(x_t), t_hat
