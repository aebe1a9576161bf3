"""Predictor-corrector sampling: a step of any sampler, then Langevin steps at the new noise level."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser, score
from scoreda.diffusion.samplers.base import Sampler, Step
from scoreda.diffusion.samplers.euler_maruyama import EulerMaruyamaSampler
from scoreda.diffusion.schedules import expand

__all__ = ["PredictorCorrectorSampler"]


class PredictorCorrectorSampler(Sampler):
    r"""After every step of the predictor, Langevin steps towards the marginal at the noise level it arrived at.

    $$ x \leftarrow x + h \nabla \log p_s(x) + \sqrt{2 h}\, z, \quad
       h = 2 (\mathrm{snr}\, \lVert z \rVert / \lVert \nabla \log p_s \rVert)^2 $$

    with the norms of each member, so members do not depend on each other (the paper averages them over the batch).
    The step is finite: alone, the corrector would settle at the variance of white data times $1 + \mathrm{snr}^2$, in
    the limit of many variables; 9 % too much at snr .3, half as much again at .7.

    Args:
        denoiser: Any denoiser, guided or not.
        steps: Steps of the predictor.
        generator: Of the noise of both.
        predictor: Makes the predictor, called as `predictor(denoiser, steps, generator, **settings)`: a sampler class,
            or a `functools.partial` of one with settings of its own.
        snr: Signal-to-noise ratio of a Langevin step, between 0 and 1.
        corrections: Langevin steps after each step.
        settings: As for every `Sampler`.

    Raises:
        ValueError: if `snr` is outside (0, 1), `corrections` is negative or there is no generator.

    Source: Song et al. (2021), algorithms 2-5, https://arxiv.org/abs/2011.13456
    """

    def __init__(
        self,
        denoiser: Denoiser,
        steps: int = 500,
        generator: torch.Generator | None = None,
        predictor: Callable[..., Sampler] = EulerMaruyamaSampler,
        snr: float = 0.16,
        corrections: int = 1,
        **settings: Any,
    ) -> None:
        super().__init__(denoiser, steps, generator, **settings)
        if not (0 < snr < 1 and corrections >= 0):
            raise ValueError(
                f"need 0 < snr < 1 and corrections >= 0, got snr={snr}, corrections={corrections}. Pass snr=0.16."
            )
        self.require_generator()
        self.predictor = predictor(denoiser, steps, generator, **settings)
        self.snr, self.corrections = snr, corrections

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier time `s` and correct it there."""
        return self.corrected(self.predictor.step(x_t, t, s), s)

    def stepper(self) -> Step:
        """Return the step with the predictor's memory, if it has one."""
        predict = self.predictor.stepper()
        return lambda x_t, t, s: self.corrected(predict(x_t, t, s), s)

    def corrected(self, x: Tensor, s: Tensor) -> Tensor:
        """Take the Langevin steps at time `s`."""
        for _ in range(self.corrections):
            g, z = score(self.denoiser, x, s), self.draw(x)
            h = expand(2 * (self.snr * z.flatten(1).norm(dim=1) / g.flatten(1).norm(dim=1)) ** 2, x)
            x = x + h * g + (2 * h).sqrt() * z
        return x
