"""Numba kernels of the filters that take one observation after the other.

`Z` `(n, N)` holds one variable per row, one member per column, so that the inner loops run over contiguous members.
"""

import math

import numpy as np
from numba import njit

from scoreda.assimilation.baselines.kernels import OPTIONS

__all__ = ["merge", "normal_quantile", "rank_histogram_move", "regress", "serial_square_root"]


@njit(**OPTIONS)
def regress(Z, h, dh, rows, weights):
    """Add to the listed rows of `Z` their regression on `h` `(N,)` times the increments `dh` `(N,)`, tapered."""
    a = h - h.mean()
    total = (a * a).sum()
    if total == 0.0:
        return
    for k in range(rows.size):
        row, covariance = Z[rows[k]], 0.0
        for m in range(row.size):
            covariance += row[m] * a[m]
        slope = weights[k] * covariance / total
        for m in range(row.size):
            row[m] += slope * dh[m]


@njit(**OPTIONS)
def serial_square_root(Z, y, R, start, rows, weights):
    """Assimilate `y` in place, one after the other; the last `len(y)` rows of `Z` are the observed members.

    The observed members move to the Kalman mean and shrink to the Kalman variance, the others by regression.
    """
    first = Z.shape[0] - y.size
    for j in range(y.size):
        h = Z[first + j].copy()
        mean = h.mean()
        s = ((h - mean) ** 2).sum() / (h.size - 1)
        dh = s / (s + R[j]) * (y[j] - mean) + (math.sqrt(R[j] / (s + R[j])) - 1) * (h - mean)
        near = slice(start[j], start[j + 1])
        regress(Z, h, dh, rows[near], weights[near])


@njit(**OPTIONS)
def normal_quantile(p):
    """Return z with Phi(z) = p for 0 < p <= 1/2.

    Newton on the concave ln Phi from -sqrt(-2 ln p), left of the root: the iterates rise to it.
    """
    z = -math.sqrt(-2 * math.log(p))
    for _ in range(50):
        cdf = 0.5 * math.erfc(-z / math.sqrt(2.0))
        step = cdf / (math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)) * math.log(p / cdf)
        z += step
        if abs(step) < 1e-13:
            break
    return z


@njit(**OPTIONS)
def rank_histogram_move(h, likelihood):
    """Return where the members `h` `(N,)` move: to the quantiles 1 .. N over N + 1 of the rank-histogram posterior.

    The prior has mass 1 / (N+1) between any two neighbours and in each tail, a Gaussian's; every part is weighted with
    the mean likelihood of the members at its ends.
    """
    N = h.size
    order = np.argsort(h)
    x, L, out = h[order], likelihood[order], np.empty(N)
    mass = np.empty(N + 1)
    mass[0], mass[N] = L[0], L[N - 1]
    mass[1:N] = 0.5 * (L[1:] + L[:-1])
    mass /= mass.sum()
    std, edge = np.std(h) * math.sqrt(N / (N - 1)), normal_quantile(1 / (N + 1))
    part, below = 0, 0.0
    for i in range(N):
        u = (i + 1) / (N + 1)
        while part < N and below + mass[part] < u:
            below += mass[part]
            part += 1
        if part == 0:
            out[order[i]] = x[0] + std * (normal_quantile(u / (mass[0] * (N + 1))) - edge)
        elif part == N:
            out[order[i]] = x[N - 1] - std * (normal_quantile((1 - u) / (mass[N] * (N + 1))) - edge)
        else:
            out[order[i]] = x[part - 1] + (x[part] - x[part - 1]) * (u - below) / mass[part]
    return out


@njit(**OPTIONS)
def merge(Z, prior, omega, weight, kept, total, rows, tapers):
    """Fold one observation into the listed rows of `Z` in place, so that they have the weighted mean and variance.

    A local weight is 1 - l + l w with the taper l: a mixture of the members as they stand and as they were sampled.

    Args:
        Z: Members after the observations before `(Nx, N)`.
        prior: Members before all of them `(Nx, N)`.
        omega: Local weights of the latter so far `(Nx, N)`; multiplied by those of this observation.
        weight: Weights w of the prior members, at most 1 `(N,)`.
        kept: Which member takes the place of each `(N,)`.
        total: Sum of the weights that `kept` was sampled with.
        rows: Variables near the observation.
        tapers: Their l.
    """
    N = Z.shape[1]
    for k in range(rows.size):
        x, start, w, l = Z[rows[k]], prior[rows[k]], omega[rows[k]], tapers[k]
        w *= 1 - l + l * weight
        w /= w.sum()
        mean = (w * start).sum()
        variance = (w * (start - mean) ** 2).sum() / max(1 - (w * w).sum(), 1e-12)
        moved = x[kept] - mean + N * (1 - l) / (l * total) * (x - mean)
        moved -= moved.mean()
        spread = (moved * moved).sum() / (N - 1)
        scale = math.sqrt(variance / spread) if spread > 0 else 0.0
        x[:] = mean + scale * moved
