"""Numba kernels of the tangent map of Lorenz96 and its transpose, on the blocks of `lorenz96_kernels`."""

import numpy as np
from numba import njit, uintp

from scoreda.models.lorenz96_kernels import OPTIONS, load, parts, place, step, steps_at_once, store, work_rows, wrap

__all__ = ["adjoint", "tangent"]


@njit(**OPTIONS)
def _trajectory(x, steps, dt, forcing, nodes, weights):
    """Return the padded states of all stages from `x`, `(steps + 1, stages, n + 4)`; the last step has its first."""
    n = x.size
    stages = np.empty((steps + 1, max(2, nodes.size), n + 4))
    stages[0, 0, 2 : n + 2] = x
    for k in range(steps):
        step(stages[k, 0], stages[k + 1, 0], stages[k, 1:], n, 1, dt, forcing, nodes, weights)
    return stages


@njit(**OPTIONS)
def _side_by_side(stage, column, n, L, space):
    """Return the padded ring, or a padded window of it from `column` on, L times side by side."""
    size = stage.size - 4
    if n == size and L == 1:
        return stage
    at = uintp((column - 2) % size)
    for i in range(uintp(n + 4)):
        for l in range(uintp(L)):
            space[i * uintp(L) + l] = stage[at + uintp(2)]
        at = at + uintp(1) if at + uintp(1) < uintp(size) else uintp(0)
    return space


@njit(**OPTIONS)
def _copy(d, out, factor):
    """Set `out` to a multiple of `d`."""
    for i in range(d.size):
        out[i] = factor * d[i]


@njit(**OPTIONS)
def _tangent_stage(s, p, d, total, q, n, L, b, c):
    """Add `b k` to `total` and set `q` to `d + c k`, where k is the tendency's derivative at `s` along `p`."""
    one, two, three = uintp(L), uintp(2 * L), uintp(3 * L)
    for i in range(uintp(n * L)):
        k = (s[i + three] - s[i]) * p[i + one] + s[i + one] * (p[i + three] - p[i]) - p[i + two]
        total[i + two] += b * k
        q[i + two] = d[i + two] + c * k


@njit(**OPTIONS)
def _adjoint_stage(s, p, d, total, q, n, L, b, c):
    """Add k to `total` and set `q` to `b d + c k`, where k is the transposed derivative at `s` along `p`.

    Row i of the transpose: (s_{i+2} - s_{i-1}) p_{i+1} + s_{i-2} p_{i-1} - s_{i+1} p_{i+2} - p_i.
    """
    one, two, three, four = uintp(L), uintp(2 * L), uintp(3 * L), uintp(4 * L)
    for i in range(uintp(n * L)):
        k = (s[i + four] - s[i + one]) * p[i + three] + s[i] * p[i + one] - s[i + three] * p[i + four] - p[i + two]
        total[i + two] += k
        q[i + two] = b * d[i + two] + c * k


@njit(**OPTIONS)
def _tangent_step(stages, column, d, total, work, n, L, dt, nodes, weights):
    """Set `total` to the perturbations `d` after one step through `stages`."""
    p = d
    _copy(d, total, 1.0)
    for j in range(nodes.size):
        q = work[j % 2]
        wrap(p, n, L)
        s = _side_by_side(stages[j], column, n, L, work[2])
        following = nodes[j + 1] * dt if j + 1 < nodes.size else 0.0
        _tangent_stage(s, p, d, total, q, n, L, weights[j] * dt, following)
        p = q


@njit(**OPTIONS)
def _adjoint_step(stages, column, d, total, work, n, L, dt, nodes, weights):
    """Set `total` to the transposed step through `stages`, applied to `d`."""
    _copy(d, total, 1.0)
    _copy(d, work[0], weights[-1] * dt)
    for j in range(nodes.size):
        p, q, stage = work[j % 2], work[(j + 1) % 2], nodes.size - 1 - j
        wrap(p, n, L)
        s = _side_by_side(stages[stage], column, n, L, work[2])
        _adjoint_stage(s, p, d, total, q, n, L, weights[stage - 1] * dt, nodes[stage] * dt)


@njit(**OPTIONS)
def _carry_part(stages, dX, out, part, transposed, dt, nodes, weights):
    """Set one part of `out` to `dX` after the tangent map through `stages`, or after its transpose."""
    m, L, column, wanted = place(part, *dX.shape)
    before, after = (0, 0) if wanted == dX.shape[1] else (2 * nodes.size, 2 * nodes.size)
    n, column = before + wanted + after, column - before
    work = work_rows(5, (n + 4) * L)
    d, total, work = work[0], work[1], work[2:]
    load(dX, m, column, d, n, L)
    for k in range(len(stages)):
        if transposed:
            _adjoint_step(stages[-1 - k], column, d, total, work, n, L, dt, nodes, weights)
        else:
            _tangent_step(stages[k], column, d, total, work, n, L, dt, nodes, weights)
        d, total = total, d
    store(d, before, out, m, column + before, wanted, L)


@njit(**OPTIONS)
def _carry(stages, dX, transposed, dt, nodes, weights):
    """Return the rows of `dX` after the tangent map along a trajectory, or after its transpose."""
    blocks, windows = parts(*dX.shape)
    steps = len(stages) - 1
    at_once = steps_at_once(dX.shape[1], steps)
    for k in range(0, steps, at_once):
        out, first = np.empty_like(dX), steps - at_once - k if transposed else k
        for part in range(blocks * windows):
            _carry_part(stages[first : first + at_once], dX, out, part, transposed, dt, nodes, weights)
        dX = out
    return dX if steps else dX.copy()


@njit(**OPTIONS)
def tangent(x, dX, steps, dt, forcing, nodes, weights):
    """Return `x` and the rows of `dX` after `steps` steps."""
    stages = _trajectory(x, steps, dt, forcing, nodes, weights)
    return stages[-1, 0, 2:-2].copy(), _carry(stages, dX, False, dt, nodes, weights)


@njit(**OPTIONS)
def adjoint(x, dY, steps, dt, forcing, nodes, weights):
    """Return the rows of `dY` after the transposed tangent map of `steps` steps from `x`."""
    stages = _trajectory(x, steps, dt, forcing, nodes, weights)
    return _carry(stages, dY, True, dt, nodes, weights)
