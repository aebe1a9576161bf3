"""Every sampler with every guidance method; few steps against a thousand; nothing is kept from step to step."""

import gc

import numpy as np
import pytest
import torch
from drawn_networks import drawn
from gaussian_oracles import F64, flow_moments, generator, kalman, noise_moments, random_problem, relative

from scoreda.diffusion import (
    DDIMSampler,
    DPMSolverSampler,
    EulerMaruyamaSampler,
    EulerSampler,
    GaussianDenoiser,
    GaussianMixture,
    HeunSampler,
    KarrasDenoiser,
    RePaint,
    TwistedSMC,
    VPConstant,
    VPCosine,
    noise,
)
from scoreda.diffusion.guidance import GUIDANCE
from scoreda.verification.distances import orthogonal_directions, sliced_wasserstein

ORDERS = {EulerSampler: 1, DDIMSampler: 1, HeunSampler: 2, DPMSolverSampler: 2}
STEPS = (20, 40, 80)
COSINE = VPCosine(0.005, 0.001, rho=1.0)


def guided(name, denoiser, problem):
    _, P, H, y, R = problem
    settings = dict(covariance=P) if name == "jfps" else {}
    return GUIDANCE[name](denoiser, y, lambda x: x[:, 0] @ H.T, R, **settings)


def moments_of(sampler, denoiser, steps):
    """The exact mean and covariance after as many steps and the denoiser."""
    return flow_moments(sampler(denoiser, steps + 1), *noise_moments(COSINE, 8))


@pytest.mark.parametrize("name", GUIDANCE)
def test_that_every_ode_sampler_nears_the_same_affine_map_with_every_guidance_method_at_its_order(name):
    problem = random_problem(0)
    denoiser = guided(name, GaussianDenoiser(*problem[:2], COSINE), problem)
    mean, cov = moments_of(HeunSampler, denoiser, 300)
    for sampler, order in ORDERS.items():
        means, covs = zip(*(moments_of(sampler, denoiser, n) for n in STEPS), strict=True)
        errors = [relative(found, cov) for found in covs]
        assert errors[-1] < {1: 0.04, 2: 0.005}[order], sampler
        assert -np.polyfit(np.log(STEPS), np.log(errors), 1)[0] == pytest.approx(order, abs=0.15), sampler
        assert relative(means[-1], mean) < {1: 0.01, 2: 0.001}[order], sampler


@pytest.mark.parametrize("name", ["jfps", "moment_matching"])
def test_that_a_method_that_is_exact_for_gaussians_gives_the_mean_and_covariance_of_kalman(name):
    problem, one = random_problem(0), torch.ones((), dtype=F64)
    mean, cov = kalman(*problem)
    alpha, sigma = COSINE.alpha(one), COSINE.sigma(one)
    start = alpha * mean, alpha**2 * cov + sigma**2 * torch.eye(8, dtype=F64)
    denoiser = guided(name, GaussianDenoiser(*problem[:2], COSINE), problem)
    found_mean, found_cov = flow_moments(HeunSampler(denoiser, 128), *start)
    assert relative(found_mean, mean) < 1e-5
    assert relative(found_cov, cov) < 1e-3


# Few steps against a thousand, where the posterior is not a Gaussian.

WEIGHTS, MEANS = (
    torch.tensor([0.5, 0.3, 0.2], dtype=F64),
    torch.tensor([[0.8, 0.6], [-1.0, 0.5], [0.2, -1.3]], dtype=F64),
)
COVS = (
    torch.tensor([[[0.3, 0.15], [0.15, 0.2]], [[0.15, -0.05], [-0.05, 0.4]], [[0.5, 0.1], [0.1, 0.1]]], dtype=F64) / 4
)


def exact_samples(number, g):
    component = torch.multinomial(WEIGHTS, number, replacement=True, generator=g)
    eps = torch.randn(number, 2, generator=g, dtype=F64)
    return MEANS[component] + torch.einsum("nij,nj->ni", torch.linalg.cholesky(COVS)[component], eps)


def distance(make, schedule, seed, number=1000):
    """Of a sampler's draws of the mixture to as many exact ones."""
    g = generator(seed)
    sampler = make(GaussianMixture(WEIGHTS, MEANS, COVS, schedule), g)
    drawn = sampler(noise((number, 1, 2), sampler.denoiser, g).double())[:, 0]
    directions = orthogonal_directions(2, 32, np.random.default_rng(0))
    return sliced_wasserstein(drawn, exact_samples(number, g), directions)


@pytest.mark.slow
def test_that_twenty_heun_steps_draw_a_mixture_as_well_as_a_thousand_of_euler_and_maruyama():
    heun = [distance(lambda d, g: HeunSampler(d, 20), VPCosine(), seed) for seed in range(3)]
    seed_sampler = lambda d, g: EulerMaruyamaSampler(d, 1000, g)
    many = [distance(seed_sampler, VPConstant(10.0, t_min=1e-3), seed) for seed in range(3)]
    assert np.mean(heun) < np.mean(many) + 2 * np.std(np.subtract(heun, many), ddof=1) / np.sqrt(3)


# Nothing is kept from step to step.


class Watched:
    """A denoiser that counts, at every call, the tensors of more than one number that are alive."""

    def __init__(self, denoiser):
        self.denoiser, self.schedule, self.alive = denoiser, denoiser.schedule, []

    def __call__(self, x_t, t):
        self.alive.append(sum(type(thing) is torch.Tensor and thing.numel() > 1 for thing in gc.get_objects()))
        return self.denoiser(x_t, t)


def watched_network():
    """Trainable weights, so that a graph would be built wherever it is not forbidden."""
    denoiser = KarrasDenoiser(drawn("convnet1d", width=4, blocks=1, kernel=3, embedding=8), VPCosine())
    return Watched(denoiser.requires_grad_(True))


RUNS = {
    name: lambda watched, name=name: HeunSampler(guided(name, watched, random_problem(1)), 6) for name in GUIDANCE
} | {
    "twisted_smc": lambda watched: TwistedSMC(watched, *observed(), generator(0), steps=8),
    "repaint": lambda watched: RePaint(watched, KNOWN, 6, generator(0), jump=2, resamplings=2),
}


KNOWN = torch.tensor([0.5, -1.0] + [torch.nan] * 6, dtype=F64)


def observed():
    _, _, H, y, R = random_problem(1)
    return y, lambda x: x[:, 0] @ H.T, R


@pytest.mark.parametrize("name", RUNS)
def test_that_no_graph_or_state_grows_over_the_steps_of_any_guidance(name):
    watched = watched_network()
    out = RUNS[name](watched)(torch.randn(3, 1, 8, generator=generator(2), dtype=F64))
    half = len(watched.alive) // 2
    assert not out.requires_grad and half >= 4
    assert max(watched.alive[half:]) <= max(watched.alive[:half])
