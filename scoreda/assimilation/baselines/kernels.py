"""Numba kernels of the square-root filters."""

from typing import Any

import numpy as np
from numba import njit, prange

__all__ = ["local_update", "local_update_parallel", "square_root_update"]

OPTIONS: dict[str, Any] = dict(cache=True, error_model="numpy")


@njit(**OPTIONS)
def square_root_update(A, Y, precision, d):
    """Return the increment of the mean `(n,)` and the updated anomalies `(N, n)` of the symmetric square-root filter.

    With S = Y diag(precision) and (N-1) I + S Y^T = U diag(lam) U^T, in the space of the members:
    increment = d S^T U diag(1 / lam) U^T A, anomalies = U diag(sqrt((N-1) / lam)) U^T A.
    """
    N = A.shape[0]
    S = Y * precision
    C = S @ Y.T
    for m in range(N):
        C[m, m] += N - 1
    lam, U = np.linalg.eigh(C)
    V = U.T @ A
    increment = (U.T @ (S @ d) / lam) @ V
    return increment, U @ (np.sqrt((N - 1) / lam).reshape(-1, 1) * V)


@njit(**OPTIONS)
def _update_column(i, increment, anomalies, A, Y, precision, d, start, obs, weight):
    """Apply `square_root_update` to column `i` of `A` with the observations of its neighbourhood, tapered."""
    near, taper = obs[start[i] : start[i + 1]], weight[start[i] : start[i + 1]]
    if near.size:
        column = np.ascontiguousarray(A[:, i : i + 1])
        shift, updated = square_root_update(column, Y[:, near], precision[near] * taper, d[near])
        increment[i] = shift[0]
        anomalies[:, i] = updated[:, 0]


# Two functions and not one compiled twice: Numba's cache tells functions apart by their code, not by `parallel`.
@njit(**OPTIONS)
def local_update(A, Y, precision, d, start, obs, weight):
    """Return the increment of the mean and the updated anomalies, column by column; unchanged without observations."""
    increment, anomalies = np.zeros(A.shape[1]), A.copy()
    for i in range(A.shape[1]):
        _update_column(i, increment, anomalies, A, Y, precision, d, start, obs, weight)
    return increment, anomalies


@njit(parallel=True, **OPTIONS)
def local_update_parallel(A, Y, precision, d, start, obs, weight):
    """Return the same, with the columns shared among threads."""
    increment, anomalies = np.zeros(A.shape[1]), A.copy()
    for i in prange(A.shape[1]):
        _update_column(i, increment, anomalies, A, Y, precision, d, start, obs, weight)
    return increment, anomalies
