"""Numba kernels of Lorenz96: one row (member or perturbation) at a time, padded so that the inner loops have no modulo.

A padded row `p` has `p[i + 2] = x[i]`, two periodic cells before and two after, so every loop over `i` is contiguous
and the compiler turns it into vector instructions.
"""

from typing import Any

import numpy as np
from numba import njit, prange

__all__ = ["adjoint", "advance", "advance_parallel", "tangent", "tendencies"]

OPTIONS: dict[str, Any] = dict(cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")


@njit(**OPTIONS)
def _wrap(p, n):
    """Fill the periodic cells of a padded row."""
    p[0], p[1] = p[n], p[n + 1]
    p[n + 2], p[n + 3] = p[2], p[3]


@njit(**OPTIONS)
def _tendency(p, forcing, k):
    for i in range(k.size):
        k[i] = (p[i + 3] - p[i]) * p[i + 1] - p[i + 2] + forcing


@njit(**OPTIONS)
def tendencies(E, forcing):
    """Return dx/dt of every row of `E`."""
    n = E.shape[1]
    out, p = np.empty_like(E), np.empty(n + 4)
    for m in range(E.shape[0]):
        p[2 : n + 2] = E[m]
        _wrap(p, n)
        _tendency(p, forcing, out[m])
    return out


BLOCK = 8  # members advanced at a time, so that their work arrays are reused


@njit(**OPTIONS)
def _advance_block(out, start, steps, dt, forcing, nodes, weights):
    """Advance rows `start` to `start + BLOCK` of `out` in place."""
    members, n = out.shape
    p, k, increment = np.empty(n + 4), np.empty(n), np.empty(n)
    for m in range(start, min(start + BLOCK, members)):
        x = out[m]
        for _ in range(steps):
            for j in range(nodes.size):
                c, b = nodes[j] * dt, weights[j] * dt
                if j == 0:
                    for i in range(n):
                        p[i + 2] = x[i]
                        increment[i] = 0.0
                else:
                    for i in range(n):
                        p[i + 2] = x[i] + c * k[i]
                _wrap(p, n)
                _tendency(p, forcing, k)
                for i in range(n):
                    increment[i] += b * k[i]
            for i in range(n):
                x[i] += increment[i]


# Two functions and not one compiled twice: Numba's cache tells functions apart by their code, not by `parallel`.
@njit(**OPTIONS)
def advance(E, steps, dt, forcing, nodes, weights):
    """Return the rows of `E` after `steps` steps."""
    out = E.copy()
    for start in range(0, E.shape[0], BLOCK):
        _advance_block(out, start, steps, dt, forcing, nodes, weights)
    return out


@njit(parallel=True, **OPTIONS)
def advance_parallel(E, steps, dt, forcing, nodes, weights):
    """Return the same, with the blocks of rows shared among threads."""
    out = E.copy()
    for b in prange((E.shape[0] + BLOCK - 1) // BLOCK):
        _advance_block(out, b * BLOCK, steps, dt, forcing, nodes, weights)
    return out


@njit(**OPTIONS)
def _stages(x, dt, forcing, nodes, weights, stages):
    """Advance `x` in place by one step, keeping the padded state of every stage in `stages`."""
    n = x.size
    k, increment = np.zeros(n), np.zeros(n)
    for j in range(nodes.size):
        p = stages[j]
        for i in range(n):
            p[i + 2] = x[i] + nodes[j] * dt * k[i]
        _wrap(p, n)
        _tendency(p, forcing, k)
        for i in range(n):
            increment[i] += weights[j] * dt * k[i]
    for i in range(n):
        x[i] += increment[i]


@njit(**OPTIONS)
def tangent(x, dX, steps, dt, forcing, nodes, weights):
    """Advance `x` and the rows of `dX` in place."""
    n = x.size
    stages = np.empty((nodes.size, n + 4))
    p, k, increment = np.empty(n + 4), np.empty(n), np.empty(n)
    for _ in range(steps):
        _stages(x, dt, forcing, nodes, weights, stages)
        for m in range(dX.shape[0]):
            d = dX[m]
            k[:] = 0.0
            increment[:] = 0.0
            for j in range(nodes.size):
                s, c, b = stages[j], nodes[j] * dt, weights[j] * dt
                for i in range(n):
                    p[i + 2] = d[i] + c * k[i]
                _wrap(p, n)
                for i in range(n):
                    k[i] = (s[i + 3] - s[i]) * p[i + 1] + s[i + 1] * (p[i + 3] - p[i]) - p[i + 2]
                for i in range(n):
                    increment[i] += b * k[i]
            for i in range(n):
                d[i] += increment[i]


@njit(**OPTIONS)
def adjoint(x, dY, steps, dt, forcing, nodes, weights):
    """Apply the transposed tangent map of `steps` steps from `x` to the rows of `dY`, in place."""
    n = x.size
    stages = np.empty((steps, nodes.size, n + 4))
    for k in range(steps):
        _stages(x, dt, forcing, nodes, weights, stages[k])
    p, b, total = np.empty(n + 4), np.empty(n), np.empty(n)
    for m in range(dY.shape[0]):
        d = dY[m]
        for k in range(steps - 1, -1, -1):
            b[:] = 0.0
            total[:] = 0.0
            for j in range(nodes.size - 1, -1, -1):
                s = stages[k, j]
                following = nodes[j + 1] * dt if j + 1 < nodes.size else 0.0
                for i in range(n):
                    p[i + 2] = weights[j] * dt * d[i] + following * b[i]
                _wrap(p, n)
                for i in range(n):
                    # Row i of the transposed Jacobian:
                    # (x_{i+2} - x_{i-1}) a_{i+1} + x_{i-2} a_{i-1} - x_{i+1} a_{i+2} - a_i
                    b[i] = (s[i + 4] - s[i + 1]) * p[i + 3] + s[i] * p[i + 1] - s[i + 3] * p[i + 4] - p[i + 2]
                for i in range(n):
                    total[i] += b[i]
            for i in range(n):
                d[i] += total[i]
