"""Guided steps and analyses with the shipped prior of Lorenz96, beside SDA's and azula's around its network."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scoreda.diffusion import SDA, Compiled, DDIMSampler, HeunSampler, MomentMatching, VPCosine, load_prior
from scoreda.diffusion.denoisers import Denoiser
from speed_rows.peers import Peers
from speed_rows.table import Row, cpu, in_turn

MEMBERS, STEPS = 64, 20
OBS_VARIANCE, GAMMA = 0.1, 0.1
LEARNED = load_prior("lorenz96").under(VPCosine(margin=1 / 80))
PRIOR = LEARNED.denoiser
Y = torch.randn(20, generator=torch.Generator().manual_seed(1))
LEVEL = torch.zeros(1)
NOISE = torch.randn(MEMBERS, 1, 40, generator=torch.Generator().manual_seed(0))


def observe(x: Tensor) -> Tensor:
    return x[:, 0, ::2]


def moment_matching(prior: Denoiser = PRIOR) -> Denoiser:
    return MomentMatching(prior, Y, observe, OBS_VARIANCE, iterations=1)


def sda(prior: Denoiser) -> Denoiser:
    return SDA(prior, Y, observe, OBS_VARIANCE, GAMMA)


WAYS: dict[str, Callable[[Callable[[Denoiser], Denoiser]], Denoiser]] = {
    "": lambda guided: guided(PRIOR),
    ", compiled": lambda guided: Compiled(guided(PRIOR)),
    ", compiled, bfloat16": lambda guided: Compiled(guided(LEARNED.autocast().denoiser)),
}


def network_at_scale(peers: Peers) -> Iterator[Row]:
    """Yield what a variable costs in tiles within 64 MB; fields of 40 go through a hundred at a time."""
    tiled = load_prior("lorenz96").within(64_000_000).denoiser.network
    evaluation = lambda members, size: cpu(torch.no_grad()(partial(tiled, torch.randn(members, 1, size), LEVEL)))
    small = evaluation(100, 40)
    for size, turns in ((4000, 9), (40_000, 9), (1_000_000, 3)):
        ratios = tuple(r * 4000 / size for r in in_turn(evaluation(1, size), small, turns))
        yield Row(f"network on {size:,} variables, in tiles, each", "of 40", 1.2, False, ratios)


def guided_step(peers: Peers) -> Iterator[Row]:
    t, s = torch.tensor(0.5), torch.tensor(0.45)
    forward = torch.no_grad()(partial(PRIOR, NOISE, t))
    for way in ("", ", compiled"):  # in the precision of the forward pass
        step = torch.no_grad()(partial(HeunSampler(WAYS[way](moment_matching)).step, NOISE, t, s))
        ratios = in_turn(cpu(step), cpu(forward))
        yield Row(f"guided Heun step, moment matching, 1 iteration{way}", "one forward pass", 4.0, False, ratios)


def analyses_of_azula(peers: Peers) -> Iterator[Row]:
    yield from analyses("azula", azula_analysis, moment_matching, peers)


def analyses_of_sda(peers: Peers) -> Iterator[Row]:
    yield from analyses("sda", sda_analysis, sda, peers)


def analyses(
    name: str, theirs: Callable[[Peers], Callable[[], Tensor]], guidance: Callable[[Denoiser], Denoiser], peers: Peers
) -> Iterator[Row]:
    """Yield 20 steps of the same guidance under the same schedule in ours and theirs."""
    for way, of in WAYS.items():
        ratios: tuple[float, ...] = ()
        if peers.installed(name):
            with torch.random.fork_rng(), peers.importable():
                ours = partial(DDIMSampler(of(guidance), STEPS, final="none"), NOISE)
                ratios = in_turn(cpu(theirs(peers)), cpu(ours), 9)
        yield Row(f"guided analysis, {MEMBERS} x 40, {STEPS} steps as {name}{way}", name, 1.5, True, ratios)


def azula_analysis(peers: Peers) -> Callable[[], Tensor]:
    """Return azula's DDIM sampler with its own form of moment matching, 1 iteration of conjugate gradients."""
    from azula import guidance, noise, sample
    from azula.denoise import Denoiser as AzulaDenoiser
    from azula.denoise import DiracPosterior
    from azula.linalg.covariance import IsotropicCovariance

    class Schedule(noise.Schedule):
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            return PRIOR.schedule.alpha(t), PRIOR.schedule.sigma(t)

    class Prior(AzulaDenoiser):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.schedule = PRIOR, Schedule()

        def forward(self, x_t: Tensor, t: Tensor, **told: Any) -> DiracPosterior:
            return DiracPosterior(mean=self.backbone(x_t, t))

    covariance = IsotropicCovariance(torch.tensor(OBS_VARIANCE))
    guided = guidance.MMPSDenoiser(Prior(), Y, observe, covariance, solver="cg", iterations=1)
    return partial(sample.DDIMSampler(guided, steps=STEPS, silent=True), NOISE)


def sda_analysis(peers: Peers) -> Callable[[], Tensor]:
    """Return SDA's sampler with its own guidance, around a network of the noise made of the prior."""
    peers.without_init("sda")
    from sda.score import VPSDE, GaussianScore

    class Noise(nn.Module):
        def forward(self, x: Tensor, t: Tensor, c: None = None) -> Tensor:
            return (x - PRIOR.schedule.alpha(t) * PRIOR(x, t)) / PRIOR.schedule.sigma(t)

    class Schedule(VPSDE):
        def mu(self, t: Tensor) -> Tensor:
            return PRIOR.schedule.alpha(t)

        def sigma(self, t: Tensor) -> Tensor:
            return PRIOR.schedule.sigma(t)

    of_prior = Schedule(Noise(), shape=(1, 40))
    guided = GaussianScore(Y, observe, OBS_VARIANCE**0.5, of_prior, GAMMA)
    return partial(Schedule(guided, shape=(1, 40)).sample, (MEMBERS,), steps=STEPS)


GROUPS = (network_at_scale, guided_step, analyses_of_azula, analyses_of_sda)
