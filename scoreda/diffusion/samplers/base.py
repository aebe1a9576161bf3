"""The loop that all samplers share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

from scoreda.diffusion.denoisers import Denoiser

__all__ = ["Sampler", "noise"]


def noise(shape: tuple[int, ...], denoiser: Denoiser, generator: torch.Generator, start: float = 1.0) -> Tensor:
    """Draw `x_t` at `t = start` from the prior's own noise, `sigma_t * N(0, I)` (the signal is negligible at t = 1)."""
    sigma = denoiser.schedule.sigma(torch.tensor(start, dtype=torch.float64))
    eps = torch.randn(shape, generator=generator, device=generator.device)
    return eps * sigma.to(eps)


class Sampler(ABC):
    """From noise to data in `steps` steps, the last of which goes to zero noise; a method gives `step`.

    Args:
        denoiser: Any denoiser, guided or not.
        steps: Steps from `start` to zero noise.
        generator: Of the noise that a stochastic method adds; deterministic ones need none.
        progress: Show a progress bar when at a terminal.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        steps: int = 18,
        generator: torch.Generator | None = None,
        progress: bool = False,
    ) -> None:
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1, got {steps}. 18 is a good start.")
        self.denoiser, self.steps, self.generator, self.progress = denoiser, steps, generator, progress

    @abstractmethod
    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier time `s`."""

    def times(self, start: float = 1.0) -> Tensor:
        """Return the times visited, from `start` down to 0; the last step, to zero noise, follows them."""
        return torch.linspace(start, 0.0, self.steps, dtype=torch.float64)

    def __call__(self, x: Tensor, start: float = 1.0) -> Tensor:
        """Return samples from noisy states `x` `(B, *)` at time `start`."""
        for state in self.path(x, start):
            x = state
        return x

    @torch.no_grad()
    def path(self, x: Tensor, start: float = 1.0) -> Iterator[Tensor]:
        """Yield the state after every step; the last is the sample."""
        times = self.times(start).to(x)
        with tqdm(total=self.steps, desc="sample", disable=None if self.progress else True) as bar:
            for t, s in zip(times[:-1], times[1:], strict=True):
                x = self.step(x, t, s)
                bar.update()
                yield x
            x = self.denoiser(x, times[-1])
            bar.update()
        yield x

    def estimates(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expected signal and the expected noise in `x_t`."""
        x_hat = self.denoiser(x_t, t)
        return x_hat, (x_t - self.denoiser.schedule.alpha(t) * x_hat) / self.denoiser.schedule.sigma(t)
