"""Numba kernels for small dense matrices: reflections, tridiagonal form, and systems with a tridiagonal matrix.

T stands for the tridiagonal matrix with diagonal `d` and other diagonal `e`.
"""

from typing import Any

import numpy as np
from numba import njit

__all__ = [
    "OPTIONS",
    "padded",
    "reflect",
    "reflect_columns",
    "rotation_matrix",
    "size_class",
    "solutions",
    "sum_of_solutions",
    "tridiagonal",
]

# No fast mathematics: with it a function that was just compiled and the same one from the cache round differently.
OPTIONS: dict[str, Any] = dict(cache=True, error_model="numpy")


@njit(**OPTIONS)
def padded(X):
    """Return a copy of `X` with columns of zeros behind, for rows of whole vectors: odd ends cost more than they do."""
    out = np.zeros((len(X), -(-X.shape[1] // 8) * 8))
    out[:, : X.shape[1]] = X
    return out


@njit(**OPTIONS)
def _householder(v, k):
    """Turn `v`, zero before `k`, into that of the reflection 1 - beta v v^T that leaves entry `k` alone.

    Returns beta, and what the entry becomes.
    """
    square = 0.0
    for i in range(v.size):
        square += v[i] * v[i]
    kept = -np.copysign(np.sqrt(square), v[k])
    half = square - kept * v[k]
    v[k] -= kept
    return (1 / half if half > 0 else 0.0), kept


@njit(**OPTIONS)
def reflect(v, beta, x):
    """Reflect the vector `x` in place: x - beta v (v . x)."""
    product = 0.0
    for i in range(x.size):
        product += v[i] * x[i]
    for i in range(x.size):
        x[i] -= beta * product * v[i]


@njit(inline="always", **OPTIONS)  # of a call, the compiler does not see that the rows do not overlap
def _weighted_rows(v, X, first, total):
    """Set `total` to the sum of the rows of `X` from `first` on, weighted by `v`."""
    total[:] = 0.0
    for i in range(first, len(X)):
        weight, row = v[i], X[i]
        for j in range(total.size):
            total[j] += weight * row[j]


@njit(**OPTIONS)
def reflect_columns(v, beta, first, X, product):
    """Reflect every column of `X`; `v` is zero before `first`, and `product` is space."""
    _weighted_rows(v, X, first, product)
    for i in range(first, len(X)):
        weight, row = beta * v[i], X[i]
        for j in range(product.size):
            row[j] -= weight * product[j]


@njit(**OPTIONS)
def _orthogonal(X):
    """Return the orthogonal factor of `X = Q R` with a positive diagonal of R."""
    n, X = len(X), padded(X)
    V, Q, beta, diagonal, product = np.zeros(X.shape), np.zeros(X.shape), np.empty(n), np.empty(n), np.empty(X.shape[1])
    for k in range(n):
        for i in range(k, n):
            V[k, i] = X[i, k]
        beta[k], diagonal[k] = _householder(V[k], k)
        reflect_columns(V[k], beta[k], k, X, product)
        Q[k, k] = 1.0
    for k in range(n - 1, -1, -1):
        reflect_columns(V[k], beta[k], k, Q, product)
    return Q[:, :n] * np.sign(diagonal)


@njit(**OPTIONS)
def rotation_matrix(X):
    """Return the orthogonal factor of `X` `(N - 1, N - 1)`, made an `(N, N)` matrix that keeps the ones."""
    N = len(X) + 1
    rotated = np.eye(N)
    rotated[1:, 1:] = _orthogonal(X)
    # The reflection that exchanges the first unit vector and the ones, from both sides.
    v = np.full(N, -1 / np.sqrt(N))
    v[0] += 1.0
    reflect_columns(v, 1 / v[0], 0, rotated, np.empty(N))
    for row in rotated:
        reflect(v, 1 / v[0], row)
    return rotated


@njit(**OPTIONS)
def tridiagonal(C):
    """Return what makes `C` the tridiagonal T = Q^T C Q.

    These are the diagonal d of T, its other diagonal e, of which the last entry is 0, and vectors (as rows) and betas
    of the reflections whose product is Q. Vector k is zero before its entry k + 1.
    """
    N, C = len(C), padded(C)
    V, d, e, beta, p = np.zeros(C.shape), np.empty(N), np.zeros(N), np.zeros(N), np.empty(C.shape[1])
    for k in range(N - 1):
        v, d[k] = V[k], C[k, k]
        v[k + 1 : N] = C[k, k + 1 : N]
        beta[k], e[k] = _householder(v, k + 1)
        # C - v w^T - w v^T with w = beta (C v - beta/2 (v^T C v) v); entries before k + 1 are never read again.
        _weighted_rows(v, C, k + 1, p)
        half = beta[k] / 2 * (v @ p)
        for j in range(p.size):
            p[j] = beta[k] * (p[j] - half * v[j])
        for i in range(k + 1, N):
            row, left, right = C[i], v[i], p[i]
            for j in range(p.size):
                row[j] -= left * p[j] + right * v[j]
    d[N - 1] = C[N - 1, N - 1]
    return d, e, V, beta


@njit(**OPTIONS)
def size_class(d, e, least, classes):
    """Return the class of rules for T, by the circles around its eigenvalues, none of which is below `least`."""
    most = d[0] + abs(e[0])
    for i in range(1, d.size):
        most = max(most, d[i] + abs(e[i - 1]) + abs(e[i]))
    return min(max(int(np.ceil(np.log(most / least) / np.log(4.0))) - 1, 0), classes - 1)


@njit(**OPTIONS)
def _elimination(d, e, shifts):
    """Return the pivots of T + shift `(N, shifts)`, and how much of a row is taken from the next."""
    pivot, ratio = np.empty((d.size, shifts.size)), np.zeros((d.size, shifts.size))
    for k in range(shifts.size):
        pivot[0, k] = d[0] + shifts[k]
    for i in range(1, d.size):
        for k in range(shifts.size):
            ratio[i, k] = e[i - 1] / pivot[i - 1, k]
            pivot[i, k] = d[i] + shifts[k] - ratio[i, k] * e[i - 1]
    return pivot, ratio


@njit(**OPTIONS)
def solutions(d, e, shifts, x):
    """Return `(N, shifts)`, whose columns y solve (T + shift) y = x: one vector, all shifts side by side."""
    pivot, ratio = _elimination(d, e, shifts)
    y = np.empty(pivot.shape)
    y[0] = x[0]
    for i in range(1, x.size):
        for k in range(shifts.size):
            y[i, k] = x[i] - ratio[i, k] * y[i - 1, k]
    y[-1] /= pivot[-1]
    for i in range(x.size - 2, -1, -1):
        for k in range(shifts.size):
            y[i, k] = (y[i, k] - e[i] * y[i + 1, k]) / pivot[i, k]
    return y


@njit(**OPTIONS)
def _downwards(X, ratio, Y):
    """Set `Y` `(N, shifts, columns)` to `X` after the elimination."""
    Y[0] = X[0]
    for i in range(1, len(X)):
        x = X[i]
        for k in range(Y.shape[1]):
            y, before, part = Y[i, k], Y[i - 1, k], ratio[i, k]
            for j in range(y.size):
                y[j] = x[j] - part * before[j]


@njit(**OPTIONS)
def _upwards(Y, pivot, e, weights, total):
    """Substitute the rows of `Y` from the last to the first, and add their weighted sums over shifts to `total`."""
    last = len(Y) - 1  # there is none after it, and e[last] is zero
    for i in range(last, -1, -1):
        sum_i = total[i]
        for k in range(Y.shape[1]):
            y, after, inverse, weight = Y[i, k], Y[min(i + 1, last), k], 1 / pivot[i, k], weights[k]
            for j in range(y.size):
                y[j] = (y[j] - e[i] * after[j]) * inverse
                sum_i[j] += weight * y[j]


@njit(**OPTIONS)
def sum_of_solutions(d, e, shifts, weights, X):
    """Return the sum over shifts of weight times the Y that solves (T + shift) Y = X: no shift waits for another."""
    pivot, ratio = _elimination(d, e, shifts)
    total, Y = np.zeros(X.shape), np.empty((len(X), shifts.size, X.shape[1]))
    _downwards(X, ratio, Y)
    _upwards(Y, pivot, e, weights, total)
    return total
