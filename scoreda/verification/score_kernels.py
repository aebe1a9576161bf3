"""Numba kernels of the scores: what they need of the members, one field at a time while it is in the fastest cache.

Ensembles are `(time, N, Nx)` and truths `(time, Nx)`, float64. The formulas are those of `arrays` and `proper_scores`.
"""

from typing import Any

import numpy as np
from numba import njit

__all__ = ["energy_scores", "member_statistics"]

# No fast mathematics: with it a function that was just compiled and the same one from the cache round differently.
OPTIONS: dict[str, Any] = dict(cache=True, error_model="numpy")
WIDTH = 64  # variables at a time, which stay in the cache while their members are sorted


@njit(**OPTIONS)
def _mean(X, mean):
    mean[:] = 0.0
    for i in range(len(X)):
        row = X[i]
        for j in range(mean.size):
            mean[j] += row[j]
    mean /= len(X)


@njit(**OPTIONS)
def _variance(X, mean, variance):
    variance[:] = 0.0
    for i in range(len(X)):
        row = X[i]
        for j in range(mean.size):
            variance[j] += (row[j] - mean[j]) ** 2
    variance /= len(X) - 1


@njit(**OPTIONS)
def _rank_bounds(X, x, low, high):
    low[:] = high[:] = 0.0
    above = np.zeros(x.size)
    for i in range(len(X)):
        row = X[i]
        for j in range(x.size):
            low[j] += row[j] < x[j]
            high[j] += row[j] <= x[j]
            above[j] += row[j] > x[j]
    for j in range(x.size):
        unknown = 0.0 if high[j] + above[j] == len(X) else np.nan  # a NaN is on neither side
        low[j] += unknown
        high[j] += unknown


@njit(**OPTIONS)
def _exchange(a, b):
    """Give every smaller number to `a`."""
    for j in range(a.size):
        p, q = a[j], b[j]
        a[j], b[j] = min(p, q), max(p, q)


@njit(**OPTIONS)
def _sort_members(X):
    """Sort the columns of `X`, all by the same comparisons of whole rows, which vector instructions do side by side.

    Source: merge exchange, Batcher (1968), https://doi.org/10.1145/1468075.1468121
    """
    top = 1
    while 2 * top < len(X):
        top *= 2
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            for i in range(len(X) - d):
                if i & p == r:
                    _exchange(X[i], X[i + d])
            d, q, r = q - p, q // 2, p
        p //= 2


@njit(**OPTIONS)
def _crps(X, x, total):
    """Set `total` to the fair CRPS of every variable and sort the columns of `X`."""
    N, total[:] = len(X), 0.0
    for i in range(N):
        row = X[i]
        for j in range(x.size):
            total[j] += abs(row[j] - x[j])
    _sort_members(X)
    for i in range(N):
        row, weight = X[i], (2 * i + 1 - N) / (N - 1)
        for j in range(x.size):
            total[j] -= weight * row[j]
    total /= N


@njit(**OPTIONS)
def member_statistics(E, x):
    """Return `(5, time, Nx)`: mean, unbiased variance, fair CRPS, and the lowest and highest rank of the truth."""
    out = np.empty((5, *x.shape))
    for t in range(len(E)):
        for first in range(0, x.shape[1], WIDTH):
            window = slice(first, min(first + WIDTH, x.shape[1]))
            X, truth = E[t, :, window].copy(), x[t, window]
            _mean(X, out[0, t, window])
            _variance(X, out[0, t, window], out[1, t, window])
            _rank_bounds(X, truth, out[3, t, window], out[4, t, window])
            _crps(X, truth, out[2, t, window])
    return out


@njit(**OPTIONS)
def _distance_to(X, x):
    """Return the root-mean-square distance from `x` to the rows of `X`, on average."""
    total = 0.0
    for i in range(len(X)):
        row, square = X[i], 0.0
        for j in range(x.size):
            square += (row[j] - x[j]) ** 2
        total += np.sqrt(square / x.size)
    return total / len(X)


@njit(**OPTIONS)
def _distance_among(A):
    """Return the same distance from the rows of `A`, whose mean is 0, to one another and themselves."""
    N, n = A.shape
    products, total = A @ A.T, np.zeros(N)
    squares = np.diag(products).copy()
    for i in range(N):
        row, square = products[i], squares[i]
        for k in range(N):
            total[k] += np.sqrt(max(square + squares[k] - 2 * row[k], 0.0) / n)
    return total.sum() / N**2


@njit(**OPTIONS)
def energy_scores(E, x):
    """Return the fair energy score of every field, `(time,)`."""
    T, N, n = E.shape
    out, mean = np.empty(T), np.empty(n)
    for t in range(T):
        _mean(E[t], mean)
        out[t] = _distance_to(E[t], x[t]) - _distance_among(E[t] - mean) * N / (2 * (N - 1))
    return out
