"""The update by perturbed observations as one kernel, for few observations: there calls cost more than arithmetic."""

import numpy as np
from numba import njit

from scoreda.assimilation.baselines.ensembles import split_kernel
from scoreda.assimilation.baselines.tridiagonal_kernels import OPTIONS

__all__ = ["perturbed_update"]


@njit(**OPTIONS)
def perturbed_update(E, HE, values, variance, errors):
    """Return `E + (values + errors - HE) K^T` `(N, Nx)`, the errors first moved so that their mean is zero.

    K is the gain of the ensemble `E` `(N, Nx)`, seen as `HE` `(N, Ny)`, for independent errors of that `variance`.
    """
    (_, A), (_, Y), (_, D) = split_kernel(E, 1.0), split_kernel(HE, 1.0), split_kernel(errors, 1.0)
    C = Y.T @ Y
    for j in range(len(C)):
        C[j, j] += (len(Y) - 1) * variance[j]
    X = Y.T @ A
    _solve(C, X)
    for i in range(len(D)):
        for j in range(values.size):
            D[i, j] += values[j] - HE[i, j]
    return E + D @ X


@njit(**OPTIONS)
def _solve(C, X):
    """Set `X` to C^-1 X for a symmetric positive definite `C`, row by row, from the triangle above its diagonal."""
    factors = np.empty(len(C))
    for i in range(len(C)):
        for k in range(i):
            factors[k] = C[k, i] / C[k, k]
        _subtract(C[i], factors[:i], C, i)
        _subtract(X[i], factors[:i], X, 0)
    for i in range(len(C) - 1, -1, -1):
        _subtract(X[i], C[i, i + 1 :], X[i + 1 :], 0)
        for j in range(X.shape[1]):
            X[i, j] /= C[i, i]


@njit(inline="always", **OPTIONS)
def _subtract(x, weights, rows, first):
    """Take the weighted sum of the leading rows from `x`, from one column on; four at a time, to pass over `x` less."""
    whole = weights.size // 4 * 4
    for k in range(0, whole, 4):
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        p, q, r, s = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        for j in range(first, x.size):
            x[j] -= a * p[j] + b * q[j] + c * r[j] + d * s[j]
    for k in range(whole, weights.size):
        for j in range(first, x.size):
            x[j] -= weights[k] * rows[k, j]
