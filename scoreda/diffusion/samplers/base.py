"""The loop that all samplers share."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor
from tqdm.auto import tqdm

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.samplers.spacing import Spacing, spacing_by_name
from scoreda.diffusion.schedules import TerminalSignalWarning, white_noise
from scoreda.diffusion.schedules.base import NEGLIGIBLE
from scoreda.errors import require_numbers

__all__ = ["Sampler", "Step", "noise", "require_generator"]

Step = Callable[[Tensor, Tensor, Tensor], Tensor]


def noise(shape: tuple[int, ...], denoiser: Denoiser, generator: torch.Generator, start: float = 1.0) -> Tensor:
    """Draw `x_t` at `t = start` from the prior's own noise, `sigma_t * N(0, I)` (the signal is negligible at t = 1).

    Warns:
        TerminalSignalWarning: if it is not at an earlier `start`.
    """
    require_generator(generator)
    schedule, t = denoiser.schedule, torch.tensor(start, dtype=torch.float64)
    sigma, left = schedule.sigma(t), float(schedule.alpha(t) / schedule.sigma(t))
    if start < 1 and left > NEGLIGIBLE:
        warnings.warn(
            f"pure noise at start = {start:g} lacks the signal that '{schedule.name}' has there, alpha / sigma = "
            f"{left:.2g}, so samples are biased. Start nearer to 1, or from noised(schedule, x, t, eps) of some x.",
            TerminalSignalWarning,
            stacklevel=2,
        )
    eps = torch.randn(shape, generator=generator, device=generator.device)
    return eps * sigma.to(eps)


def require_generator(generator: object) -> None:
    """Refuse what is no source of randomness.

    Raises:
        ValueError: if it is no `torch.Generator`.
    """
    if not isinstance(generator, torch.Generator):
        raise ValueError(
            f"`generator` must be a torch.Generator, got {generator!r}. "
            "Pass generator=torch.Generator().manual_seed(0)."
        )


class Sampler(ABC):
    """From noise to data in `steps` steps, the last of which goes to zero noise; a method gives `step`.

    Args:
        denoiser: Any denoiser, guided or not.
        steps: Steps from `start` to zero noise.
        generator: Of the noise that a stochastic method adds; deterministic ones need none.
        progress: Show a progress bar when at a terminal.
        spacing: Of the times: "uniform" in the schedule's t, "log_snr", "karras", or a function like those of
            `samplers.spacing`.
        final: "denoise" ends with the denoiser at t = 0, "none" with one more step of the method to the little noise
            that is left there.

    Raises:
        ValueError: if `steps` is not a whole number of at least 1, `generator` no generator, or a name is unknown.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        steps: int = 18,
        generator: torch.Generator | None = None,
        progress: bool = False,
        spacing: Spacing | str = "uniform",
        final: str = "denoise",
    ) -> None:
        require_numbers(whole=True, steps=steps)
        if generator is not None:
            require_generator(generator)
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1, got {steps}. 18 is a good start.")
        if final not in ("denoise", "none"):
            raise ValueError(f"`final` must be 'denoise' or 'none', got '{final}'.")
        self.denoiser, self.steps, self.generator, self.progress = denoiser, steps, generator, progress
        self.spacing, self.final = spacing_by_name(spacing) if isinstance(spacing, str) else spacing, final

    @abstractmethod
    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier time `s`."""

    def stepper(self) -> Step:
        """Return the `step` of one path; a method that remembers earlier steps gives every path its own memory."""
        return self.step

    def times(self, start: float = 1.0) -> Tensor:
        """Return the times visited, from `start` down to 0; a last step to zero noise follows unless `final="none"`."""
        if not 0 < start <= 1:
            raise ValueError(
                f"`start` must be above 0, where the data are, and at most 1, where noise is, got {start}. Pass 1.0."
            )
        return self.spacing(self.denoiser.schedule, start, self.steps + (self.final == "none"))

    def __call__(self, x: Tensor, start: float = 1.0) -> Tensor:
        """Return samples from noisy states `x` `(B, *)` at time `start`.

        Warns:
            RuntimeWarning: if a sample is not finite.
        """
        for state in self.path(x, start):
            x = state
        _warn_of_runaways(x)
        return x

    @torch.no_grad()
    def path(self, x: Tensor, start: float = 1.0) -> Iterator[Tensor]:
        """Yield the state after every step; the last is the sample."""
        times, step = self.times(start).to(x), self.stepper()
        with tqdm(total=self.steps, desc="sample", disable=None if self.progress else True) as bar:
            for t, s in zip(times[:-1], times[1:], strict=True):
                x = step(x, t, s)
                bar.update()
                yield x
            if self.final == "denoise":
                x = self.denoiser(x, times[-1])
                bar.update()
                yield x

    def trace(self, x: Tensor, times: Sequence[float], start: float = 1.0) -> Tensor:
        """Return the states `(len(times), B, *)` at the visited times nearest to `times`; that at 0 is the sample."""
        visited = [*self.times(start).tolist(), 0.0][: self.steps + 1]
        nearest = [min(visited, key=lambda t: abs(t - wanted)) for wanted in times]
        states = zip(visited, chain([x], self.path(x, start)), strict=True)
        kept = {t: state for t, state in states if t in nearest}
        return torch.stack([kept[t] for t in nearest])

    def estimates(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expected signal and the expected noise in `x_t`."""
        x_hat = self.denoiser(x_t, t)
        return x_hat, (x_t - self.denoiser.schedule.alpha(t) * x_hat) / self.denoiser.schedule.sigma(t)

    def require_generator(self) -> None:
        """Refuse to be stochastic without a source of randomness.

        Raises:
            ValueError: if the sampler was given no generator.
        """
        if self.generator is None:
            raise ValueError(
                f"{type(self).__name__} adds noise and needs a `generator`, got None. "
                "Pass generator=torch.Generator().manual_seed(0)."
            )

    def draw(self, x: Tensor) -> Tensor:
        """Return white noise like `x` from the sampler's own generator."""
        self.require_generator()
        return white_noise(x, self.generator)  # type: ignore[arg-type]


def _warn_of_runaways(x: Tensor) -> None:
    lost = int((~x.isfinite()).flatten(1).any(1).sum())
    if lost:
        warnings.warn(
            f"{lost} of {len(x)} samples are not finite: the steps are too large for what guides them. Take more steps,"
            " or a guidance method that knows the spread of x given x_t, such as MomentMatching.",
            RuntimeWarning,
            stacklevel=3,
        )
