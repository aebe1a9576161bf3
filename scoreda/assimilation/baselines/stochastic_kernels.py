"""The update by perturbed observations as one kernel, for few observations: there calls cost more than arithmetic."""

import numpy as np
from numba import njit

from scoreda.assimilation.baselines.tridiagonal_kernels import OPTIONS

__all__ = ["perturbed_update"]


@njit(**OPTIONS)
def perturbed_update(E, HE, values, variance, errors):
    """Return `E + (values + errors - HE) K^T` `(N, Nx)`, the errors first moved so that their mean is zero.

    K is the gain of the ensemble `E` `(N, Nx)`, seen as `HE` `(N, Ny)`, for independent errors of that `variance`.
    """
    A, Y, D = _anomalies(E), _anomalies(HE), _anomalies(errors)
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
def _anomalies(X):
    mean = np.zeros(X.shape[1])
    for row in X:
        for j in range(mean.size):
            mean[j] += row[j]
    A = np.empty(X.shape)
    for i in range(len(X)):
        for j in range(mean.size):
            A[i, j] = X[i, j] - mean[j] / len(X)
    return A


@njit(**OPTIONS)
def _solve(C, X):
    """Set `X` to C^-1 X for a symmetric positive definite `C`, row by row, from the triangle above its diagonal."""
    for k in range(len(C)):
        pivot_row, pivot_x = C[k], X[k]
        for i in range(k + 1, len(C)):
            factor, row, x = pivot_row[i] / pivot_row[k], C[i], X[i]
            for j in range(i, row.size):
                row[j] -= factor * pivot_row[j]
            for j in range(x.size):
                x[j] -= factor * pivot_x[j]
    for k in range(len(C) - 1, -1, -1):
        row, x = C[k], X[k]
        for i in range(k + 1, len(C)):
            weight, known = row[i], X[i]
            for j in range(x.size):
                x[j] -= weight * known[j]
        for j in range(x.size):
            x[j] /= row[k]
