"""What must not matter: the coordinates of the noise, where the ring begins and ends, who else is in the batch."""

import pytest
import torch
from drawn_networks import drawn

from scoreda.diffusion import EDM, VE, HeunSampler, KarrasDenoiser, VPConstant, VPCosine, VPLinear, load_prior
from scoreda.diffusion.denoisers import CirculantGaussian, Empirical, GaussianDenoiser, GaussianMixture
from scoreda.diffusion.guidance import GUIDANCE, MomentMatching
from scoreda.diffusion.samplers import noise

F64 = torch.float64
SIZE = 12
SPECTRUM = torch.tensor([3.0, 2.0, 1.5, 1.0, 0.5, 0.2, 0.1], dtype=F64)
SETTINGS = {name: dict(covariance=SPECTRUM) if name == "jfps" else {} for name in GUIDANCE}
SCHEDULES = [VPLinear(), VPConstant(), VPCosine(margin=0.02), VE(), EDM()]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=F64)


def drawn_denoiser(schedule):
    return KarrasDenoiser(drawn("convnet1d", width=6, blocks=2, kernel=3, embedding=8), schedule)


def shipped(schedule=None):
    prior = load_prior("lorenz96")
    prior.denoiser.double()
    return prior.denoiser if schedule is None else prior.under(schedule).denoiser


def covariance():
    A = randn(SIZE, SIZE)
    return A @ A.T / SIZE + 0.1 * torch.eye(SIZE, dtype=F64)


DENOISERS = {
    "gaussian": lambda schedule: GaussianDenoiser(randn(SIZE), covariance(), schedule),
    "circulant": lambda schedule: CirculantGaussian(0.7, SPECTRUM, schedule),
    "mixture": lambda schedule: GaussianMixture(
        torch.tensor([0.7, 0.3], dtype=F64), randn(2, SIZE), torch.stack([covariance(), 0.3 * covariance()]), schedule
    ),
    "ensemble": lambda schedule: Empirical(randn(20, SIZE), schedule, bandwidth=0.2),
    "network": drawn_denoiser,
    "shipped prior": shipped,
}


@pytest.mark.parametrize("guided", [False, True], ids=["prior", "guided"])
@pytest.mark.parametrize("name", DENOISERS)
def test_that_the_posterior_mean_is_the_same_in_vp_ve_and_edm_time(name, guided):
    z, s = randn(4, 1, SIZE, seed=1), torch.tensor([0.1, 0.5, 2.0, 9.0], dtype=F64)
    means = []
    for schedule in SCHEDULES:
        denoiser, t = DENOISERS[name](schedule), schedule.time(s)
        if guided:
            denoiser = MomentMatching(denoiser, randn(4, seed=2), lambda x: x[:, 0, ::3].abs(), 0.4)
        means.append(denoiser(schedule.alpha(t)[:, None, None] * z, t))
    for mean in means[1:]:
        torch.testing.assert_close(mean, means[0], rtol=1e-6, atol=1e-6)


# The ring.

SITES = torch.tensor([0, 1, 4, 9])


def sampled(method, denoiser, x, shift, steps=3, **settings):
    """Guided samples where everything observed lies `shift` points further along the ring."""
    observe = lambda x: x[:, 0, (SITES + shift) % x.shape[-1]]
    y, R = torch.tensor([0.5, -1.0, 2.0, 0.3], dtype=F64), torch.tensor([0.3, 0.5, 0.4, 0.8], dtype=F64)
    return HeunSampler(GUIDANCE[method](denoiser, y, observe, R, **settings), steps)(x)


@pytest.mark.parametrize("method", GUIDANCE)
def test_that_a_rolled_domain_gives_the_rolled_sample_through_every_guided_sampler(method, shift=5):
    denoiser, x, settings = drawn_denoiser(VPCosine()), randn(2, 1, SIZE), SETTINGS[method]
    here = sampled(method, denoiser, x, 0, **settings)
    there = sampled(method, denoiser, x.roll(shift, dims=-1), shift, **settings)
    torch.testing.assert_close(there, here.roll(shift, dims=-1), rtol=1e-6, atol=1e-6)
    not_moved = sampled(method, denoiser, x.roll(shift, dims=-1), 0, **settings)
    assert not torch.allclose(not_moved, here.roll(shift, dims=-1), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("size", [41, 400])
def test_that_the_shipped_prior_of_forty_variables_is_sampled_and_guided_on_any_ring_wherever_it_begins(size):
    denoiser = shipped(VPCosine(margin=0.02))
    x = noise((2, 1, size), denoiser, generator(3)).double()
    here = sampled("moment_matching", denoiser, x, 0, iterations=1)
    there = sampled("moment_matching", denoiser, x.roll(7, dims=-1), 7, iterations=1)
    torch.testing.assert_close(there, here.roll(7, dims=-1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("times", [10, 1000])
def test_that_the_shipped_prior_knows_nothing_of_the_length_of_the_ring(times):
    denoiser, x = load_prior("lorenz96").under(VPCosine(margin=0.02)).denoiser, randn(1, 1, 40).float()
    y = randn(20, seed=4).float()
    guided = lambda y: MomentMatching(denoiser, y, lambda x: x[:, 0, ::2], 0.5, iterations=1)
    long = guided(y.repeat(times))(x.repeat(1, 1, times), 0.5)
    torch.testing.assert_close(long, guided(y)(x, 0.5).repeat(1, 1, times), rtol=1e-3, atol=1e-3)


# The batch.


@pytest.mark.parametrize("method", GUIDANCE)
def test_that_a_sample_of_every_guided_sampler_does_not_depend_on_the_batch(method):
    denoiser, x, settings = drawn_denoiser(VPCosine()), randn(4, 1, SIZE), SETTINGS[method]
    alone = torch.cat([sampled(method, denoiser, row[None], 0, **settings) for row in x])
    torch.testing.assert_close(sampled(method, denoiser, x, 0, **settings), alone, rtol=1e-7, atol=1e-7)
