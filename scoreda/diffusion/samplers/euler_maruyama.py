"""The Euler-Maruyama method for the reverse SDE, with any amplitude of its noise."""

from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.samplers.base import Sampler
from scoreda.diffusion.schedules import diffusion, drift

__all__ = ["EulerMaruyamaSampler"]


class EulerMaruyamaSampler(Sampler):
    r"""Euler-Maruyama steps of the family of reverse equations that share the marginals of the forward SDE.

    $$ dx = \left[f x - \tfrac{1 + c^2}{2} g^2 \nabla \log p_t(x)\right] dt + c\, g\, dw $$

    Amplitude c = 1 is Anderson's reverse SDE, c = 0 the probability-flow ODE. Weak order 1: a Gaussian's variance is
    off by O(1 / steps), 1 % at 1000. Explicit, so it needs dt c^2 |f| < 2 near t = 1: hundreds of steps uniform in
    VPCosine's t, few in spacing "log_snr".

    Args:
        denoiser: Any denoiser, guided or not.
        steps: Steps from `start` to zero noise; hundreds.
        generator: Of the noise; needed unless `amplitude` is 0.
        amplitude: c, between 0 and 1.
        last_noise: Whether the step that arrives at t = 0 adds noise.
        settings: As for every `Sampler`.

    Raises:
        ValueError: if `amplitude` is outside [0, 1], or noise is wanted without a generator.

    Source: Song et al. (2021), eq. 6 and appendix D, https://arxiv.org/abs/2011.13456
    """

    def __init__(
        self,
        denoiser: Denoiser,
        steps: int = 1000,
        generator: torch.Generator | None = None,
        amplitude: float = 1.0,
        last_noise: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(denoiser, steps, generator, **settings)
        if not 0 <= amplitude <= 1:
            raise ValueError(f"`amplitude` must be between 0 (the ODE) and 1 (the reverse SDE), got {amplitude}.")
        self.amplitude, self.last_noise = amplitude, last_noise
        if amplitude > 0:
            self.require_generator()

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier time `s`."""
        schedule, c = self.denoiser.schedule, self.amplitude
        f, g = drift(schedule, t), diffusion(schedule, t)
        push = (t - s) * (1 + c**2) / 2 * (g / schedule.sigma(t)) ** 2
        # The score is (alpha x_hat - x_t) / sigma^2. Each of what is added up is read once, for states of a million.
        x_s = torch.addcmul((1 - (t - s) * f - push) * x_t, push * schedule.alpha(t), self.denoiser(x_t, t))
        quiet = c == 0 or (s <= 0 and not self.last_noise)
        return x_s if quiet else torch.addcmul(x_s, c * g * (t - s).sqrt(), self.draw(x_t))
