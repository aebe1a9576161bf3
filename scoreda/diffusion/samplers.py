r"""Samplers: from noise to data along the probability-flow ODE.

With $\hat x = E[x \mid x_t]$ and $\hat\epsilon = (x_t - \alpha_t \hat x) / \sigma_t$ the ODE of every schedule reads
$dx_t = \hat x\, d\alpha_t + \hat\epsilon\, d\sigma_t$, so a sampler is one quadrature step of that equation.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

from scoreda.diffusion.denoisers import Denoiser

__all__ = ["HeunSampler", "noise"]


def noise(shape: tuple[int, ...], denoiser: Denoiser, generator: torch.Generator, start: float = 1.0) -> Tensor:
    """Draw `x_t` at `t = start` from the prior's own noise, `sigma_t * N(0, I)` (the signal is negligible at t = 1)."""
    sigma = denoiser.schedule.sigma(torch.tensor(start, dtype=torch.float64))
    eps = torch.randn(shape, generator=generator, device=generator.device)
    return eps * sigma.to(eps)


class HeunSampler:
    r"""Heun's second-order method (deterministic), with a last step to zero noise.

    $$ x_s = x_t + (\alpha_s - \alpha_t) \tfrac12 (\hat x_t + \hat x_s) + (\sigma_s - \sigma_t) \tfrac12
       (\hat\epsilon_t + \hat\epsilon_s) $$

    where the estimates at `s` come from an Euler step. Under the EDM schedule this is algorithm 1 of the paper.

    Args:
        denoiser: Any denoiser, guided or not.
        steps: Steps from `start` to zero noise; `2 steps - 1` denoiser evaluations.
        progress: Show a progress bar when at a terminal.

    Source: Karras et al. (2022), algorithm 1 without churn, https://arxiv.org/abs/2206.00364
    """

    def __init__(self, denoiser: Denoiser, steps: int = 18, progress: bool = False) -> None:
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1, got {steps}. 18 is a good start.")
        self.denoiser, self.steps, self.progress = denoiser, steps, progress

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

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier (or later) time `s`."""
        schedule = self.denoiser.schedule
        d_alpha, d_sigma = schedule.alpha(s) - schedule.alpha(t), schedule.sigma(s) - schedule.sigma(t)
        x_hat, eps = self._estimates(x_t, t)
        x_hat_s, eps_s = self._estimates(x_t + d_alpha * x_hat + d_sigma * eps, s)
        return x_t + d_alpha * (x_hat + x_hat_s) / 2 + d_sigma * (eps + eps_s) / 2

    def _estimates(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expected signal and the expected noise in `x_t`."""
        x_hat = self.denoiser(x_t, t)
        return x_hat, (x_t - self.denoiser.schedule.alpha(t) * x_hat) / self.denoiser.schedule.sigma(t)
