"""The analysis of the ensemble score filter on a million variables, beside its published code."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion import EulerMaruyamaSampler
from speed_rows.peers import Peers
from speed_rows.table import Row, cpu, in_turn

MEMBERS, SIZE, STEPS, TURNS = 20, 1_000_000, 5, 3
BLOCK = 2**14  # variables whose members stay in the cache from the first step to the last
OBS_VARIANCE, EPS_ALPHA, EPS_BETA = 4.0, 0.5, 0.025


class Linear:
    """The schedule of the filter: signal and variance of the noise linear in t (Bao et al., 2024)."""

    name = "linear"

    def alpha(self, t: Tensor) -> Tensor:
        """Return the signal scale."""
        return 1 - (1 - EPS_ALPHA) * t

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise standard deviation."""
        return (EPS_BETA + (1 - EPS_BETA) * t).sqrt()

    def time(self, ratio: Tensor | float) -> Tensor:
        """Refuse: steps uniform in t do not ask."""
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """Return its name."""
        return dict(name=self.name)


class EachItsMember:
    """The denoiser of the filter: of the prior the member itself, and the likelihood of x_t damped by 1 - t."""

    schedule = Linear()

    def __init__(self, E: Tensor, y: Tensor) -> None:
        self.E, self.y = E, y

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return what score and likelihood together make of the states."""
        gain = self.schedule.sigma(t) ** 2 / self.schedule.alpha(t) * (1 - t) / OBS_VARIANCE
        return torch.addcmul(self.E, gain, self.y - x_t)


def ours(E: Tensor, y: Tensor) -> Tensor:
    """Return the analysis, block by block: with every variable observed they do not know of each other."""
    generator = torch.Generator().manual_seed(1)
    analysis = torch.empty_like(E)
    for first in range(0, E.shape[1], BLOCK):
        part = slice(first, first + BLOCK)
        denoiser = EachItsMember(E[:, part].contiguous(), y[part])
        x = torch.randn(E[:, part].shape, generator=generator)
        analysis[:, part] = EulerMaruyamaSampler(denoiser, STEPS, generator, final="none")(x)
    return analysis


def published(E: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """Return the analysis by the functions of the published code, put together as its notebooks do."""
    from ScoreFilter.diffusion import NoiseSchedule, ReverseSampler, ScoreRep, post_score

    sampler = ReverseSampler(NoiseSchedule(eps_a=EPS_ALPHA, eps_b=EPS_BETA))
    sampler.ns = sampler.noise_schedule
    score = ScoreRep(sampler, E.shape[1], lambda x: x, OBS_VARIANCE**0.5)
    prior = lambda z, t: score.score_gaussian_diffusion_diag(z, t, E, torch.zeros(()))
    likelihood = lambda z, t: (y - z) / OBS_VARIANCE * (1 - t)  # as in the notebooks, without automatic derivatives
    posterior = lambda z, t: post_score(z, t, prior, likelihood)
    return lambda: sampler.sample_SDE_euler(torch.randn_like(E), posterior, STEPS)


def ensemble_score(peers: Peers) -> Iterator[Row]:
    ratios: tuple[float, ...] = ()
    if peers.installed("ScoreFilter"):
        with torch.random.fork_rng(), peers.importable():
            E = torch.randn(MEMBERS, SIZE, generator=torch.Generator().manual_seed(0))
            theirs = published(E, E[0])
            torch.testing.assert_close(moments(ours(E, E[0])), moments(theirs()), rtol=0.01, atol=0.01)
            ratios = in_turn(cpu(theirs), cpu(lambda: ours(E, E[0])), TURNS)
    yield Row(f"EnSF-type analysis, {SIZE:,} x {MEMBERS}", "its published code", 3.0, True, ratios)


def moments(E: Tensor) -> Tensor:
    return torch.stack([E.mean(), E.std(), E[1].std(), (E[0] * E[1]).mean()])


GROUPS = (ensemble_score,)
