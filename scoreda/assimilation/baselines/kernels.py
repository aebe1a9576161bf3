"""The update of the square-root filters, of all variables at once or each with the observations near it."""

import numpy as np
from numba import njit, prange

from scoreda.assimilation.baselines.inverse_root import rules
from scoreda.assimilation.baselines.tridiagonal_kernels import (
    OPTIONS,
    padded,
    reflect,
    reflect_columns,
    size_class,
    solutions,
    sum_of_solutions,
    tridiagonal,
)

__all__ = ["inverse_root", "local_update", "square_root_update"]

SHARE = 64  # columns that a thread takes at a time
WINDOW = 64  # columns that are multiplied by the root at a time: their solutions for all shifts stay in the cache


@njit(**OPTIONS)
def _normal_matrix(Y, precision, d):
    """Return C = (N-1) I + S Y^T and S d, with S = Y diag(precision)."""
    S = Y * precision
    C = S @ Y.T
    for m in range(len(C)):
        C[m, m] += len(C) - 1
    return C, S @ d


@njit(**OPTIONS)
def _root_rule(d, e, least, rules):
    """Return shifts and weights of sqrt(least) C^{-1/2}; the tridiagonal form of C has eigenvalues from `least` on."""
    sizes, shifts, weights = rules
    c = size_class(d, e, least, len(sizes))
    return least * shifts[c, : sizes[c]], least * weights[c, : sizes[c]]


@njit(**OPTIONS)
def _turn_back(V, beta, x):
    """Set `x` to Q x."""
    for k in range(len(V) - 2, -1, -1):
        reflect(V[k], beta[k], x)


@njit(**OPTIONS)
def _root_times(X, d, e, V, beta, shifts, weights):
    """Return the columns of `X` multiplied by the root."""
    X = padded(X)
    product = np.empty(X.shape[1])
    for k in range(len(V) - 1):
        reflect_columns(V[k], beta[k], k + 1, X, product)
    X = sum_of_solutions(d, e, shifts, weights, X)
    for k in range(len(V) - 2, -1, -1):
        reflect_columns(V[k], beta[k], k + 1, X, product)
    return X


@njit(**OPTIONS)
def _update(A, Y, precision, d, rules):
    C, w = _normal_matrix(Y, precision, d)
    diagonal, e, V, beta = tridiagonal(C)
    for k in range(len(V) - 1):
        reflect(V[k], beta[k], w)
    w = solutions(diagonal, e, np.zeros(1), w)[:, 0].copy()
    _turn_back(V, beta, w)
    shifts, weights = _root_rule(diagonal, e, len(A) - 1, rules)
    anomalies = np.empty(A.shape)
    for first in range(0, A.shape[1], WINDOW):
        last = min(first + WINDOW, A.shape[1])
        X = _root_times(A[:, first:last], diagonal, e, V, beta, shifts[1:], weights[1:])
        anomalies[:, first:last] = X[:, : last - first]
    return w @ A, anomalies


@njit(**OPTIONS)
def _inverse_root(C, least, rules):
    d, e, V, beta = tridiagonal(C)
    shifts, weights = _root_rule(d, e, least, rules)
    root = _root_times(np.eye(len(C)), d, e, V, beta, shifts[1:], weights[1:] / np.sqrt(least))
    return root[:, : len(C)].copy()


@njit(**OPTIONS)
def _update_column(a, Y, precision, d, rules):
    """Do the same for one variable, whose anomalies `a` are used up: all shifts at once, the first for the mean."""
    C, b = _normal_matrix(Y, precision, d)
    diagonal, e, V, beta = tridiagonal(C)
    for k in range(len(V) - 1):
        reflect(V[k], beta[k], a)
    shifts, weights = _root_rule(diagonal, e, a.size - 1, rules)
    y = solutions(diagonal, e, shifts, a)
    inverse, root = y[:, 0].copy(), y @ weights
    _turn_back(V, beta, inverse)
    _turn_back(V, beta, root)
    return inverse @ b, root


@njit(**OPTIONS)
def _update_columns(first, last, increment, anomalies, Y, precision, d, start, obs, weight, rules):
    """Update columns `first` to `last` with the observations of their neighbourhoods, tapered."""
    for i in range(first, last):
        near, taper = obs[start[i] : start[i + 1]], weight[start[i] : start[i + 1]]
        if near.size:
            column, tapered = anomalies[:, i].copy(), precision[near] * taper
            increment[i], anomalies[:, i] = _update_column(column, Y[:, near], tapered, d[near], rules)


# Two functions and not one compiled twice: Numba's cache tells functions apart by their code, not by `parallel`.
@njit(**OPTIONS)
def _local_update(increment, anomalies, Y, precision, d, start, obs, weight, rules):
    _update_columns(0, increment.size, increment, anomalies, Y, precision, d, start, obs, weight, rules)


@njit(parallel=True, **OPTIONS)
def _local_update_parallel(increment, anomalies, Y, precision, d, start, obs, weight, rules):
    for share in prange(-(-increment.size // SHARE)):
        first, last = share * SHARE, min((share + 1) * SHARE, increment.size)
        _update_columns(first, last, increment, anomalies, Y, precision, d, start, obs, weight, rules)


def inverse_root(C: np.ndarray, least: float) -> np.ndarray:
    """Return the symmetric C^{-1/2} `(N, N)` of a symmetric `C`, none of whose eigenvalues is below `least` > 0."""
    return _inverse_root(C, least, rules())


def square_root_update(
    A: np.ndarray, Y: np.ndarray, precision: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the increment of the mean and the updated anomalies of the symmetric square-root filter.

    $$ \text{increment} = d^\top R^{-1} Y^\top C^{-1} A, \quad \text{anomalies} = \sqrt{N-1}\, C^{-1/2} A, \quad
       C = (N-1) I + Y R^{-1} Y^\top $$

    without eigenvectors: C is made tridiagonal, and its root a sum of solutions of shifted systems (`inverse_root`).

    Args:
        A: Anomalies `(N, n)`.
        Y: Observed anomalies `(N, Ny)`.
        precision: Inverse error variances, the diagonal of R^{-1}, `(Ny,)`.
        d: Innovation of the mean `(Ny,)`.

    Returns:
        `(n,)` and `(N, n)`.
    """
    return _update(A, Y, precision, d, rules())


def local_update(
    A: np.ndarray,
    Y: np.ndarray,
    precision: np.ndarray,
    d: np.ndarray,
    start: np.ndarray,
    obs: np.ndarray,
    weight: np.ndarray,
    parallel: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `square_root_update` does to every column of `A` with the observations near it, their errors tapered.

    Args:
        A: Anomalies `(N, n)`; a column without observations stays as it is.
        Y: Observed anomalies `(N, Ny)`.
        precision: Inverse error variances `(Ny,)`.
        d: Innovation of the mean `(Ny,)`.
        start: With `obs` and `weight` the `Neighbourhoods` of the columns.
        obs: Indices into the observations.
        weight: Tapers.
        parallel: Whether to share the columns among threads.

    Returns:
        The increment of the mean `(n,)` and the updated anomalies `(N, n)`.
    """
    increment, anomalies = np.zeros(A.shape[1]), A.copy()
    update = _local_update_parallel if parallel else _local_update
    update(increment, anomalies, Y, precision, d, start, obs, weight, rules())
    return increment, anomalies
