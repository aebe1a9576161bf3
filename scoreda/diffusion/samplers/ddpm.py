"""Ancestral sampling of DDPM."""

from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.samplers.base import Sampler
from scoreda.diffusion.schedules import transition
from scoreda.errors import suggest

__all__ = ["DDPMSampler"]


class DDPMSampler(Sampler):
    r"""Draw $x_s$ from $p(x_s \mid x_t, x = \hat x)$: ancestral sampling, under any schedule and with any steps.

    With $x_t = a x_s + \beta^{1/2} \epsilon$ the forward step,

    $$ x_s = \frac{a \sigma_s^2\, x_t + \alpha_s \beta\, \hat x}{\sigma_t^2} + v^{1/2} z, \quad
       v = \beta \sigma_s^2 / \sigma_t^2 \text{ or } \beta. $$

    Args:
        denoiser: Any denoiser, guided or not.
        steps: Steps from `start` to zero noise; the paper's are those of its schedule, 1000.
        generator: Of the noise.
        variance: "posterior" is exact for data in one point, "beta" for white data of unit variance under a
            variance-preserving schedule; all others lie between the two and need small steps.
        settings: As for every `Sampler`.

    Raises:
        ValueError: if `variance` is neither, or there is no generator.

    Source: Ho et al. (2020), Denoising diffusion probabilistic models, algorithm 2 and section 3.2,
    https://arxiv.org/abs/2006.11239
    """

    def __init__(
        self,
        denoiser: Denoiser,
        steps: int = 1000,
        generator: torch.Generator | None = None,
        variance: str = "posterior",
        **settings: Any,
    ) -> None:
        super().__init__(denoiser, steps, generator, **settings)
        if variance not in ("posterior", "beta"):
            raise ValueError(f"unknown `variance` '{variance}'; {suggest(variance, ('posterior', 'beta'))}")
        self.variance = variance
        self.require_generator()

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier time `s`."""
        schedule = self.denoiser.schedule
        a, std = transition(schedule, s, t)
        shrink = (schedule.sigma(s) / schedule.sigma(t)) ** 2
        x_hat, beta = self.denoiser(x_t, t), std**2
        mean = a * shrink * x_t + schedule.alpha(s) * beta / schedule.sigma(t) ** 2 * x_hat
        return mean + (beta * shrink if self.variance == "posterior" else beta).sqrt() * self.draw(x_t)
