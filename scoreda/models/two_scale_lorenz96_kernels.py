"""Numba kernel of the two-scale Lorenz96 model: one row (member) at a time."""

import numpy as np
from numba import njit

__all__ = ["tendencies"]


@njit(cache=True, error_model="numpy")
def _slow(X, Y, forcing, exchange, out):
    K = X.size
    J = Y.size // K
    for k in range(K):
        out[k] = (X[(k + 1) % K] - X[k - 2]) * X[k - 1] - X[k] + forcing - exchange * Y[k * J : (k + 1) * J].sum()


@njit(cache=True, error_model="numpy")
def _fast(X, Y, exchange, carry, time_ratio, out):
    n = Y.size
    J = n // X.size
    for j in range(n):
        following, second = (j + 1) % n, (j + 2) % n
        out[j] = carry * (Y[j - 1] - Y[second]) * Y[following] - time_ratio * Y[j] + exchange * X[j // J]


@njit(cache=True, error_model="numpy")
def tendencies(E, K, forcing, exchange, carry, time_ratio):
    """Return dx/dt of every row of `E`; its first `K` variables are slow."""
    out = np.empty_like(E)
    for m in range(E.shape[0]):
        X, Y = E[m, :K], E[m, K:]
        _slow(X, Y, forcing, exchange, out[m, :K])
        _fast(X, Y, exchange, carry, time_ratio, out[m, K:])
    return out
