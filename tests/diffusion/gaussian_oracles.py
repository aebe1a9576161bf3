"""Gaussians through samplers, in closed form: what the tests of samplers and of the likelihood compare with."""

from itertools import pairwise

import torch

from scoreda.diffusion import GaussianDenoiser

F64 = torch.float64
MEAN, VARIANCES = torch.tensor([1.0, -2.0, 0.5], dtype=F64), torch.tensor([4.0, 0.5, 0.02], dtype=F64)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def make_denoiser(schedule):
    """Three unlike variables."""
    return GaussianDenoiser(MEAN, torch.diag(VARIANCES), schedule)


def states(seed=0, number=4):
    return torch.randn(number, 1, 3, generator=generator(seed), dtype=F64)


def scales(schedule, t):
    """`alpha_t` and the standard deviation of `x_t`."""
    t = torch.as_tensor(t, dtype=F64)
    return schedule.alpha(t), (schedule.alpha(t) ** 2 * VARIANCES + schedule.sigma(t) ** 2).sqrt()


def transported(schedule, x_t, t, s):
    """The exact probability-flow map of the Gaussian from `t` to `s`: standardised anomalies stay."""
    (alpha_t, std_t), (alpha_s, std_s) = scales(schedule, t), scales(schedule, s)
    return alpha_s * MEAN + std_s * (x_t - alpha_t * MEAN) / std_t


def exact_sample(schedule, x, start):
    """The exact flow down to `t = 0`, then the denoiser, the sampler's last step."""
    return make_denoiser(schedule)(transported(schedule, x, start, 0.0), 0.0)


def random_problem(seed, n=8):
    """A correlated prior, every other component observed, unequal error variances: nothing symmetric."""
    g = generator(seed)
    A = torch.randn(n, n, generator=g, dtype=F64)
    P = A @ A.T / n + 0.1 * torch.eye(n, dtype=F64)
    mean, y = torch.randn(n, generator=g, dtype=F64), torch.randn(n // 2, generator=g, dtype=F64)
    H = torch.eye(n, dtype=F64)[::2] + 0.3 * torch.randn(n // 2, n, generator=g, dtype=F64)
    return mean, P, H, y, 0.3 + 0.4 * torch.rand(n // 2, generator=g, dtype=F64)


def kalman(mean, P, H, y, R):
    """The exact posterior mean and covariance."""
    K = P @ H.T @ torch.linalg.inv(H @ P @ H.T + torch.diag(R))
    return mean + K @ (y - H @ mean), P - K @ H @ P


def relative(a, b):
    return float(torch.linalg.norm(a - b) / torch.linalg.norm(b))


def flow_moments(sampler, mean, cov):
    """Push N(mean, cov) through a deterministic sampler: zero and the unit vectors give the exact moments."""
    n = len(mean)
    out = sampler(torch.cat([torch.zeros(1, n), torch.eye(n)]).to(F64)[:, None])[:, 0]
    M = out[1:] - out[0]
    return out[0] + mean @ M, M.T @ cov @ M


@torch.no_grad()
def moments(sampler, mean, cov, start=1.0):
    """Push N(mean, cov) at `start` through a stochastic sampler with affine steps: the exact moments, no Monte Carlo.

    Every step maps zero, the unit vectors, and zero with each unit vector in place of its random numbers.
    """
    n = len(mean)
    rows = torch.cat([torch.zeros(1, n), torch.eye(n), torch.zeros(n, n)]).to(F64)[:, None]
    draws = torch.cat([torch.zeros(n + 1, n), torch.eye(n)]).to(F64)[:, None]
    sampler.draw = lambda x: draws

    def push(out, mean, cov):
        b, M, G = out[0, 0], out[1 : n + 1, 0] - out[0, 0], out[n + 1 :, 0] - out[0, 0]
        return b + mean @ M, M.T @ cov @ M + G.T @ G

    times = sampler.times(start)
    for t, s in pairwise(times):
        mean, cov = push(sampler.step(rows, t, s), mean, cov)
    return push(sampler.denoiser(rows, times[-1]), mean, cov) if sampler.final == "denoise" else (mean, cov)


def noise_moments(schedule, n, start=1.0):
    """The moments of the sampler's own starting noise."""
    sigma = schedule.sigma(torch.tensor(start, dtype=F64))
    return torch.zeros(n, dtype=F64), sigma**2 * torch.eye(n, dtype=F64)
