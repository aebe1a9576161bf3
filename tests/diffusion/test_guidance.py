"""Guided sampling against exact posteriors: with a Gaussian prior the whole sampler is an affine map."""

import pytest
import torch

from scoreda.diffusion import EDM, GaussianDenoiser, HeunSampler, MomentMatching, VPCosine

F64 = torch.float64


def random_problem(seed, n=8):
    """A correlated prior, every other component observed, unequal error variances: nothing symmetric."""
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(n, n, generator=g, dtype=F64)
    P = A @ A.T / n + 0.1 * torch.eye(n, dtype=F64)
    mean, y = torch.randn(n, generator=g, dtype=F64), torch.randn(n // 2, generator=g, dtype=F64)
    H = torch.eye(n, dtype=F64)[::2] + 0.3 * torch.randn(n // 2, n, generator=g, dtype=F64)
    return mean, P, H, y, 0.3 + 0.4 * torch.rand(n // 2, generator=g, dtype=F64)


def kalman(mean, P, H, y, R):
    """The exact posterior mean and covariance."""
    K = P @ H.T @ torch.linalg.inv(H @ P @ H.T + torch.diag(R))
    return mean + K @ (y - H @ mean), P - K @ H @ P


def affine_map(sampler, n, sigma_max):
    """Push zero and the unit vectors through a sampler; return the exact output mean and covariance."""
    inputs = torch.cat([torch.zeros(1, n, dtype=F64), torch.eye(n, dtype=F64)]) * sigma_max
    out = sampler(inputs[:, None])[:, 0]
    M = out[1:] - out[0]
    return out[0], M.T @ M


def guided(problem, steps):
    mean, P, H, y, R = problem
    schedule = EDM(0.002, 1000.0)
    denoiser = MomentMatching(GaussianDenoiser(mean, P, schedule), y, lambda x: x[:, 0] @ H.T, R)
    return affine_map(HeunSampler(denoiser, steps), len(mean), schedule.sigma_max)


def relative(a, b):
    return float(torch.linalg.norm(a - b) / torch.linalg.norm(b))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_that_256_heun_steps_with_moment_matching_give_the_kalman_posterior(seed):
    problem = random_problem(seed)
    mean, cov = guided(problem, 256)
    exact_mean, exact_cov = kalman(*problem)
    assert relative(cov, exact_cov) < 1e-3
    assert relative(mean, exact_mean) < 1e-3


def test_that_heun_converges_at_second_order():
    problem = random_problem(0)
    exact = kalman(*problem)[1]
    steps = torch.tensor([64, 128, 256, 512])
    errors = torch.tensor([relative(guided(problem, int(n))[1], exact) for n in steps])
    slope = torch.diff(errors.log()) / torch.diff(steps.double().log())
    assert abs(slope[-1] + 2) < 0.15


def scalar_posterior(prior_cov, H, obs_std, steps=20):
    """Mean and covariance from a zero-mean prior and one observation y = 1."""
    schedule, n = VPCosine(), len(prior_cov)
    prior = GaussianDenoiser(torch.zeros(n, dtype=F64), prior_cov, schedule)
    denoiser = MomentMatching(prior, torch.ones(1, dtype=F64), H, obs_std**2)
    return affine_map(HeunSampler(denoiser, steps), n, float(schedule.sigma(torch.ones((), dtype=F64))))


@pytest.mark.parametrize("obs_std", [0.1, 0.5, 1.0])
def test_that_twenty_heun_steps_weigh_one_observation_right_to_one_percent(obs_std):
    mean, cov = scalar_posterior(torch.eye(1, dtype=F64), lambda x: x[:, 0], obs_std)
    assert float(mean) == pytest.approx(1 / (1 + obs_std**2), rel=0.01)
    assert float(cov.sqrt()) == pytest.approx((1 + obs_std**-2) ** -0.5, rel=0.01)


def test_that_an_observation_spreads_to_the_correlated_variable():
    correlated = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64)
    mean, cov = scalar_posterior(correlated, lambda x: x[:, 0, :1], 0.1)
    assert float(mean[1]) == pytest.approx(0.891, rel=0.01)
    assert float(cov[1, 1].sqrt()) == pytest.approx(0.445, rel=0.01)


def gaussian_field(seed, members=6, n=8):
    mean, P, H, y, R = random_problem(seed)
    x = 2 * torch.randn(members, 1, n, generator=torch.Generator().manual_seed(9), dtype=F64)
    return GaussianDenoiser(mean, P, EDM()), H, y, R, x


def test_that_a_member_does_not_depend_on_the_batch():
    denoiser, H, y, R, x = gaussian_field(3)
    guided = MomentMatching(denoiser, y, lambda x: (x[:, 0] @ H.T) ** 2, R)
    together, alone = guided(x, 0.5), torch.cat([guided(row[None], 0.5) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)


def test_that_missing_values_act_as_if_they_were_not_listed():
    denoiser, H, y, R, x = gaussian_field(4)
    gaps = y.clone()
    gaps[1] = torch.nan
    keep = torch.tensor([0, 2, 3])
    masked = MomentMatching(denoiser, gaps, lambda x: x[:, 0] @ H.T, R)(x, 0.4)
    listed = MomentMatching(denoiser, y[keep], lambda x: x[:, 0] @ H[keep].T, R[keep])(x, 0.4)
    torch.testing.assert_close(masked, listed, rtol=1e-9, atol=1e-9)


def test_that_without_observations_the_prior_is_left_alone():
    denoiser, H, y, R, x = gaussian_field(5)
    guided = MomentMatching(denoiser, torch.full_like(y, torch.nan), lambda x: x[:, 0] @ H.T, R)
    torch.testing.assert_close(guided(x, 0.4), denoiser(x, 0.4))


def test_that_an_error_variance_of_zero_is_refused():
    denoiser, H, y, R, _ = gaussian_field(6)
    with pytest.raises(ValueError, match="positive"):
        MomentMatching(denoiser, y, lambda x: x[:, 0] @ H.T, 0 * R)
