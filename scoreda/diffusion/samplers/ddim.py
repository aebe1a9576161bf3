"""Denoising diffusion implicit models."""

from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.samplers.base import Sampler
from scoreda.diffusion.schedules import transition

__all__ = ["DDIMSampler"]


class DDIMSampler(Sampler):
    r"""Recompose the estimates at the next noise level, a part of the expected noise drawn anew.

    $$ x_s = \alpha_s \hat x + \sqrt{\sigma_s^2 - v}\, \hat\epsilon + v^{1/2} z, \quad
       v = \eta^2\, \frac{\sigma_s^2}{\sigma_t^2} \Big(\sigma_t^2 - \frac{\alpha_t^2}{\alpha_s^2} \sigma_s^2\Big) $$

    With eta = 0 it is deterministic and of first order: Euler's step of $dx = \hat x\, d\alpha + \hat\epsilon\,
    d\sigma$, and the first-order exponential integrator in log signal-to-noise. With eta = 1 it is DDPM with the
    posterior variance.

    Args:
        denoiser: Any denoiser, guided or not.
        steps: Steps from `start` to zero noise.
        generator: Of the noise; needed unless `eta` is 0.
        eta: Between 0 and 1.
        settings: As for every `Sampler`.

    Raises:
        ValueError: if `eta` is outside [0, 1], or noise is wanted without a generator.

    Source: Song et al. (2021), Denoising diffusion implicit models, eq. 12 and 16, https://arxiv.org/abs/2010.02502
    """

    def __init__(
        self,
        denoiser: Denoiser,
        steps: int = 50,
        generator: torch.Generator | None = None,
        eta: float = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__(denoiser, steps, generator, **settings)
        if not 0 <= eta <= 1:
            raise ValueError(f"`eta` must be between 0 (deterministic) and 1 (DDPM), got {eta}.")
        self.eta = eta
        if eta > 0:
            self.require_generator()

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier (if `eta` is 0, or later) time `s`."""
        schedule = self.denoiser.schedule
        x_hat, eps = self.estimates(x_t, t)
        if self.eta == 0:
            return schedule.alpha(s) * x_hat + schedule.sigma(s) * eps
        v = (self.eta * schedule.sigma(s) / schedule.sigma(t) * transition(schedule, s, t)[1]) ** 2
        kept = (schedule.sigma(s) ** 2 - v).clamp_min(0).sqrt()
        return schedule.alpha(s) * x_hat + kept * eps + v.sqrt() * self.draw(x_t)
