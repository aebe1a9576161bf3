r"""RePaint: inpainting by replacement, with jumps back to harmonise what is known with what is filled in.

An ancestral step gives the unknown part, the forward process the known one, $x_s = \alpha_s y + \sigma_s \epsilon$. The
two parts were drawn apart, so the state is noised again and the stretch repeated.

Source: Lugmayr et al. (2022), RePaint: inpainting using denoising diffusion probabilistic models, algorithm 1 and
appendix B, https://arxiv.org/abs/2201.09865
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.guidance.observed import as_numbers, require_known_values, require_same_kind
from scoreda.diffusion.samplers import DDPMSampler, Sampler
from scoreda.diffusion.samplers.base import Step
from scoreda.diffusion.schedules import Schedule, transition

__all__ = ["Filled", "RePaint"]


class Filled:
    """A denoiser that knows part of the answer.

    Args:
        denoiser: The prior.
        y: The known values, NaN elsewhere, broadcast against states `(B, *)`.
    """

    def __init__(self, denoiser: Denoiser, y: Tensor) -> None:
        self.denoiser, self.y = denoiser, y
        self.schedule: Schedule = denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t] with the known values in their places."""
        return torch.where(torch.isnan(self.y), self.denoiser(x_t, t), self.y)


class RePaint(Sampler):
    r"""A sampler of p(x | y) for values of the state that are known; it needs no derivative of the denoiser.

    The paper has exact values. Values with error variance `R` are themselves a noised state, $x_t / \alpha_t$ where
    $\sigma_t^2 / \alpha_t^2 = R$: above that level they are replaced by $\alpha_s y + (\sigma_s^2 - \alpha_s^2 R)^{1/2}
    \epsilon$, below it they are left to the prior. There are no jumps below the highest of these levels.

    Bias: the known part is as noisy as $x_s$, so early steps see less of it than they should, and late ones move the
    rest too little to make up for it. With correlation .9 to a known 1 and 200 steps the filled-in mean is .62, .82,
    .88 and .89 at 1, 3, 10 and 30 resamplings, not .90; the spread .55, .47, .43 and .43, not .44.

    Args:
        denoiser: The prior.
        y: Known values in their places, NaN elsewhere: of the shape of a state or its last axes, or a row for each.
        steps: Steps from `start` to zero noise; each is taken `resamplings` times.
        generator: Of the noise.
        R: Error variance of the known values, one for all or one for each in the shape of `y`; 0 keeps a value as it
            is. Errors are independent.
        jump: Steps between jumps back, and the length of these.
        resamplings: How many times each stretch of `jump` steps is walked; 1 is plain replacement.
        variance: Of the ancestral steps, "posterior" or "beta".
        settings: As for every `Sampler`.

    Raises:
        ValueError: if `jump` or `resamplings` is below 1, a variance is negative, or `y` or `R` is of another form.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        steps: int = 250,
        generator: torch.Generator | None = None,
        R: Tensor | float = 0.0,
        jump: int = 10,
        resamplings: int = 10,
        variance: str = "posterior",
        **settings: Any,
    ) -> None:
        require_known_values(y, "in the shape of a state", (1, 2, 3, 4))
        R = _variances(R, y)
        if not (jump >= 1 and resamplings >= 1 and bool(((R >= 0) & R.isfinite()).all())):
            raise ValueError(
                f"need jump >= 1, resamplings >= 1 and variances R >= 0, got jump={jump}, resamplings={resamplings}, "
                f"R={R.tolist()}. The paper has 10, 10 and 0."
            )
        super().__init__(Filled(denoiser, torch.where(R > 0, torch.nan, y)), steps, generator, **settings)
        self.prior = DDPMSampler(denoiser, steps, generator, variance)
        self.y, self.R, self.jump, self.resamplings = y, R, jump, resamplings

    def path(self, x: Tensor, start: float = 1.0) -> Iterator[Tensor]:
        """Yield the state after every step; see `Sampler`.

        Raises:
            ValueError: if `y` has another shape, dtype or device than the states.
        """
        require_same_kind(x, self.y)
        if self.y.shape not in (x.shape[x.ndim - self.y.ndim :], (1, *x.shape[1:])):
            raise ValueError(
                f"`y` has shape {tuple(self.y.shape)}, the states {tuple(x.shape)}. Put the known values in their "
                f"places of a state {tuple(x.shape[1:])}, with NaN elsewhere."
            )
        return super().path(x, start)

    def stepper(self) -> Step:
        """Return a step that, after every `jump` of them, goes back and walks the stretch again."""
        stretch: list[Tensor] = []

        def step(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
            if bool((self._spare(s) < 0).any()):  # a walk from here up and down again would forget y
                x = self._harmonised(x, [*stretch, t])
                stretch.clear()
                return self.step(x, t, s)
            stretch.append(t)
            x = self.step(x, t, s)
            if len(stretch) == self.jump or s == 0:
                x = self._harmonised(x, [*stretch, s])
                stretch.clear()
            return x

        return step

    def _harmonised(self, x: Tensor, times: list[Tensor]) -> Tensor:
        """Jump back from the last of `times` to the first and return, `resamplings` - 1 times."""
        factor, std = transition(self.denoiser.schedule, times[-1], times[0])
        for _ in range(self.resamplings - 1 if len(times) > 1 else 0):
            x = factor * x + std * self.draw(x)
            for t, s in pairwise(times):
                x = self.step(x, t, s)
        return x

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier time `s` and put the known values, as noisy as they are there."""
        x_s, spare = self.prior.step(x_t, t, s), self._spare(s)
        if bool((spare < 0).all()):
            return x_s
        known = self.denoiser.schedule.alpha(s) * self.y + spare.clamp_min(0).sqrt() * self.draw(x_s)
        return torch.where(torch.isnan(self.y) | (spare < 0), x_s, known)

    def _spare(self, s: Tensor) -> Tensor:
        """Return the variances of the noise at `s` that the errors of y do not account for."""
        return self.denoiser.schedule.sigma(s) ** 2 - self.denoiser.schedule.alpha(s) ** 2 * self.R


def _variances(R: Any, y: Tensor) -> Tensor:
    """Return the error variance of every value, 0 where none is known, or one for all; ValueError for other shapes."""
    R = as_numbers(R, y)
    if R.shape not in ((), y.shape):
        raise ValueError(
            f"`R` must be one variance, or variances in the shape of `y` {tuple(y.shape)}, got {tuple(R.shape)}. "
            "For errors that are correlated use MomentMatching."
        )
    return R.where(~torch.isnan(y), 0) if R.ndim else R
