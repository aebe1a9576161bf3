"""Exact denoisers of Gaussian mixtures: of a few full Gaussians, and of an ensemble."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from scoreda.diffusion.denoisers.base import eigen, require_like
from scoreda.diffusion.schedules import Schedule, ratio

__all__ = ["Empirical", "GaussianMixture"]

CHUNK = 2**24  # numbers held at a time


class GaussianMixture:
    r"""The exact denoiser of $\sum_k w_k N(m_k, C_k)$: the components' own denoisers, weighed by their posterior odds.

    Args:
        weights: Shape `(K,)`, non-negative; normalised here.
        means: Shape `(K, n)`, n the size of a flattened sample.
        covs: Shape `(K, n, n)`, symmetric positive semi-definite.
        schedule: Any schedule.

    Raises:
        ValueError: if shapes disagree, a weight is negative, or one of `covs` is not a covariance.
    """

    def __init__(self, weights: Tensor, means: Tensor, covs: Tensor, schedule: Schedule) -> None:
        K, n = means.shape
        if weights.shape != (K,) or covs.shape != (K, n, n):
            raise ValueError(
                f"for `means` ({K}, {n}), `weights` must have shape ({K},) and `covs` ({K}, {n}, {n}), "
                f"got {tuple(weights.shape)} and {tuple(covs.shape)}."
            )
        if not ((weights >= 0).all() and weights.sum() > 0):
            raise ValueError(f"`weights` must be non-negative and not all 0, got {weights.tolist()}.")
        self.weights, self.means, self.schedule = weights / weights.sum(), means, schedule
        self._values, self._vectors = eigen(covs, "covs")

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """Return E[x | x_t], the shape of `x_t` `(B, *)`."""
        odds, x_hats, _ = self._posterior(x_t, t)
        return torch.einsum("bk,bkn->bn", odds.softmax(1), x_hats).reshape(x_t.shape)

    def log_prob(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """Return the log density of the noisy states, `(B,)`."""
        alpha_t = self.schedule.alpha(torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device))
        return self._posterior(x_t, t)[0].logsumexp(1) - self.means.shape[1] * alpha_t.log()

    def covariance(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """Return Cov[x | x_t] of flattened samples, `(B, n, n)`."""
        odds, x_hats, variances = self._posterior(x_t, t)
        p = odds.softmax(1)
        within = torch.einsum("bk,knm,bkm,kpm->bnp", p, self._vectors, variances, self._vectors)
        away = x_hats - torch.einsum("bk,bkn->bn", p, x_hats)[:, None]
        return within + torch.einsum("bk,bkn,bkp->bnp", p, away, away)

    def _posterior(self, x_t: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """Return log density `(B, K)` in units of x, E[x | x_t, k] and its variance along eigenvectors `(B, K, n)`."""
        x, s = _rescaled(self.schedule, self.means, x_t, t)
        total = self._values + s[..., None] ** 2
        residual = torch.einsum("bkn,knm->bkm", x[:, None] - self.means, self._vectors)
        log_density = -((residual**2 / total + (2 * math.pi * total).log()) / 2).sum(-1)
        x_hats = self.means + torch.einsum("bkm,knm->bkn", self._values / total * residual, self._vectors)
        return self.weights.log() + log_density, x_hats, self._values * s[..., None] ** 2 / total


class Empirical:
    r"""The exact denoiser of an ensemble: equal Gaussians of standard deviation `bandwidth` around its members.

    Noise levels far below the distance between members return the nearest one: an ensemble has no more to say.
    Members are worked through a few states at a time, so that memory stays near that of the ensemble.

    Args:
        samples: The ensemble, `(N, *)`.
        schedule: Any schedule.
        bandwidth: 0 for the members themselves.

    Raises:
        ValueError: if `bandwidth` is negative or there are no samples.
    """

    def __init__(self, samples: Tensor, schedule: Schedule, bandwidth: float = 0.0) -> None:
        if not bandwidth >= 0 or len(samples) == 0:
            raise ValueError(f"need `bandwidth` >= 0 and samples, got {bandwidth} and {len(samples)} samples.")
        self.samples, self.schedule, self.bandwidth = samples.flatten(1), schedule, float(bandwidth)

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """Return E[x | x_t], the shape of `x_t` `(B, *)`."""
        return self._in_chunks(self._x_hat, x_t, t).reshape(x_t.shape)

    def log_prob(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """Return the log density of the noisy states, `(B,)`."""
        alpha_t = self.schedule.alpha(torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device))
        return self._in_chunks(self._log_density, x_t, t) - self.samples.shape[1] * alpha_t.log()

    def _in_chunks(self, function: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, t: Tensor | float) -> Tensor:
        rows = max(1, CHUNK // self.samples.numel())
        x, s = _rescaled(self.schedule, self.samples, x_t, t)
        return torch.cat([function(*part) for part in zip(x.split(rows), s.split(rows), strict=True)])

    def _x_hat(self, x: Tensor, s: Tensor) -> Tensor:
        member = self._exponents(x, s).softmax(1) @ self.samples
        return member + self.bandwidth**2 / (self.bandwidth**2 + s**2) * (x - member)

    def _log_density(self, x: Tensor, s: Tensor) -> Tensor:
        N, n = self.samples.shape
        scale = 2 * math.pi * (self.bandwidth**2 + s[:, 0] ** 2)
        return self._exponents(x, s).logsumexp(1) - math.log(N) - n / 2 * scale.log()

    def _exponents(self, x: Tensor, s: Tensor) -> Tensor:
        """Return the exponents of the Gaussians around every member, `(B, N)`.

        Differences are taken one by one: |x|^2 - 2 x.y + |y|^2 has no digits left for neighbours at little noise.
        """
        return -(x[:, None] - self.samples).square().sum(-1) / (2 * (self.bandwidth**2 + s**2))


def _rescaled(schedule: Schedule, like: Tensor, x_t: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return flattened states as `x_t / alpha_t` `(B, n)` and their noise `(B, 1)`."""
    require_like(x_t, like)
    flat = x_t.flatten(1)
    t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device).expand(len(x_t))
    alpha_t, s = ratio(schedule, t, flat)
    return flat / alpha_t, s
