"""Inversion and log-likelihood: the density of a Gaussian and of a mixture, known exactly."""

import math

import numpy as np
import pytest
import torch
from gaussian_oracles import F64, VARIANCES, generator, kalman, make_denoiser, random_problem, states, transported
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from scoreda.diffusion import EDM, GaussianDenoiser, HeunSampler, MomentMatching, VPCosine
from scoreda.diffusion.denoisers import GaussianMixture
from scoreda.diffusion.likelihood import invert, log_likelihood

WIDE = [EDM(0.01, 2000.0), VPCosine(0.01, 0.0005)]  # the signal left at t = 1 is nothing
every_schedule = pytest.mark.parametrize("schedule", WIDE, ids=lambda s: s.name)


def noisy_variance(schedule):
    """Variance of the noise that is left in the density, relative to the signal."""
    zero = torch.zeros((), dtype=F64)
    return float((schedule.sigma(zero) / schedule.alpha(zero)) ** 2)


def gaussian_problem(schedule, seed=0):
    """A correlated Gaussian, samples of it, and their exact log density."""
    mean, P, *_ = random_problem(seed)
    density = MultivariateNormal(mean, P + noisy_variance(schedule) * torch.eye(8, dtype=F64))
    x = mean + 1.5 * torch.randn(5, 8, generator=generator(seed), dtype=F64) @ torch.linalg.cholesky(P).T
    return GaussianDenoiser(mean, P, schedule), x[:, None], density.log_prob(x)


def mixture_problem(schedule):
    """Two unlike Gaussians in the plane, states between and around them, and their exact log density."""
    weights, means = torch.tensor([0.6, 0.4], dtype=F64), torch.tensor([[4.0, 1.0], [-3.0, 0.0]], dtype=F64)
    covs = torch.tensor([[[4.0, 1.5], [1.5, 1.0]], [[1.0, -0.5], [-0.5, 0.5]]], dtype=F64)
    noisy = covs + noisy_variance(schedule) * torch.eye(2, dtype=F64)
    density = MixtureSameFamily(Categorical(weights), MultivariateNormal(means, noisy))
    x = 3 * torch.randn(12, 2, generator=generator(8), dtype=F64)
    return GaussianMixture(weights, means, covs, schedule), x[:, None], density.log_prob(x)


# Inversion.


@every_schedule
def test_that_inversion_follows_the_exact_flow_up(schedule):
    x, end = states(), 0.7
    up = invert(make_denoiser(schedule), x, steps=256, end=end)
    torch.testing.assert_close(up, transported(schedule, x, 0.0, end), rtol=2e-3, atol=2e-3)


@every_schedule
@pytest.mark.parametrize("end", [1.0, 0.5])
def test_that_inversion_then_sampling_returns_the_input_at_second_order(schedule, end):
    denoiser, x = make_denoiser(schedule), VARIANCES.sqrt() * states()
    errors, steps = [], np.array([32, 64, 128])
    for n in steps:
        noise = invert(denoiser, x, n, end)
        errors.append(float((HeunSampler(denoiser, n, final="none")(noise, end) - x).norm()))
    assert errors[-1] < 0.01
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] < -1.85


# Log density.


@every_schedule
def test_that_the_log_density_of_a_gaussian_is_exact(schedule):
    denoiser, x, exact = gaussian_problem(schedule)
    found = log_likelihood(denoiser, x, steps=400)
    torch.testing.assert_close(found.nats, exact, rtol=0, atol=5e-3)
    assert torch.equal(found.standard_error, torch.zeros(5, dtype=F64))
    torch.testing.assert_close(found.bits_per_dimension, -found.nats / 8 / math.log(2))


@pytest.mark.parametrize("spacing", ["uniform", "log_snr", "karras"])
def test_that_the_log_density_converges_at_second_order(spacing):
    denoiser, x, _ = gaussian_problem(EDM(0.05, 300.0))
    steps = np.array([24, 48, 96, 512])
    *values, limit = (log_likelihood(denoiser, x, int(n), spacing=spacing).nats for n in steps)
    errors = [float((value - limit).norm()) for value in values]
    assert np.polyfit(np.log(steps[:3]), np.log(errors), 1)[0] == pytest.approx(-2, abs=0.15)


def test_that_the_log_density_does_not_depend_on_the_schedule():
    found = []
    for schedule in (EDM(0.02, 2000.0), VPCosine(math.atan(0.02), 0.0005), VPCosine(math.atan(0.02), 0.0005, 2.0)):
        denoiser, x, _ = gaussian_problem(schedule)
        found.append(log_likelihood(denoiser, x, 300).nats)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=6e-3)
    torch.testing.assert_close(found[2], found[0], rtol=0, atol=6e-3)


@every_schedule
def test_that_the_log_density_of_a_mixture_is_exact(schedule):
    denoiser, x, exact = mixture_problem(schedule)
    torch.testing.assert_close(log_likelihood(denoiser, x, steps=400).nats, exact, rtol=5e-4, atol=5e-3)


def test_that_the_density_of_scalars_integrates_to_one():
    weights, means, stds = torch.tensor([[0.6, 0.4], [4.0, -3.0], [2.0, 1.0]], dtype=F64)
    denoiser, grid = (
        GaussianMixture(weights, means[:, None], (stds**2)[:, None, None], WIDE[0]),
        torch.linspace(-12, 14, 400, dtype=F64),
    )
    density = log_likelihood(denoiser, grid.reshape(-1, 1, 1), 200).nats.exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=2e-3)


def test_that_a_guided_denoiser_has_the_density_of_the_posterior():
    mean, P, H, y, R = problem = random_problem(2)
    prior = GaussianDenoiser(mean, P, WIDE[1])
    posterior_mean, posterior_cov = kalman(*problem)
    noisy = MultivariateNormal(posterior_mean, posterior_cov + noisy_variance(WIDE[1]) * torch.eye(8, dtype=F64))
    x = posterior_mean + 0.3 * torch.randn(3, 8, generator=generator(3), dtype=F64)
    found = log_likelihood(MomentMatching(prior, y, lambda x: x[:, 0] @ H.T, R), x[:, None], 64).nats
    torch.testing.assert_close(found, noisy.log_prob(x), rtol=0, atol=0.05)


# The trace by probes.


def test_that_hutchinson_s_trace_agrees_with_the_exact_one_within_its_standard_error():
    denoiser, x, _ = gaussian_problem(WIDE[1])
    exact = log_likelihood(denoiser, x, 24)
    probed = log_likelihood(denoiser, x, 24, "hutchinson", 100, generator(1))
    assert (probed.standard_error > 0).all()
    assert ((probed.nats - exact.nats).abs() < 5 * probed.standard_error).all()
    more = log_likelihood(denoiser, x, 24, "hutchinson", 400, generator(2))
    torch.testing.assert_close(more.standard_error, probed.standard_error / 2, rtol=0.3, atol=0)


def test_that_one_probe_is_exact_for_independent_variables_and_has_no_error_bar():
    denoiser, x = make_denoiser(WIDE[0]), states()
    probed = log_likelihood(denoiser, x, 30, "hutchinson", 1, generator(1))
    torch.testing.assert_close(probed.nats, log_likelihood(denoiser, x, 30).nats)
    assert probed.standard_error.isnan().all()


def test_that_probes_are_the_generator_s_and_nobody_else_s():
    denoiser, x, _ = gaussian_problem(WIDE[0])
    before = torch.get_rng_state()
    draw = lambda seed: log_likelihood(denoiser, x, 5, "hutchinson", 2, generator(seed)).nats
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_that_a_sample_s_density_does_not_depend_on_the_batch_or_the_layout():
    denoiser, x, _ = gaussian_problem(WIDE[1])
    together = log_likelihood(denoiser, x, 20).nats
    alone = torch.cat([log_likelihood(denoiser, row[None], 20).nats for row in x])
    torch.testing.assert_close(alone, together, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_likelihood(denoiser, x.reshape(5, 2, 4), 20).nats, together, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trace": "hutchison"}, "did you mean 'hutchinson'"),
        ({"trace": "hutchinson"}, "needs .* a `generator`, got 8 and None"),
        ({"trace": "hutchinson", "probes": 0, "generator": generator(0)}, "at least 1"),
        ({"steps": 0}, "`steps` must be at least 1"),
    ],
)
def test_that_settings_without_an_estimate_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        log_likelihood(make_denoiser(EDM()), states(), **settings)
