"""Numba kernels of Lorenz96: members side by side, so that every loop is one run over neighbouring numbers.

In a block of L members, element `(i + 2) L + l` of a flat array is variable `i` of member `l`. Two periodic cells stand
before the first variable and two after the last, and the neighbour of an element is L elements away. So the loops have
neither a modulo nor an inner loop, and vector instructions serve any number of members and variables.
"""

from typing import Any

import numpy as np
from numba import njit, prange, uintp

__all__ = [
    "OPTIONS",
    "advance",
    "advance_parallel",
    "load",
    "parts",
    "place",
    "step",
    "steps_at_once",
    "store",
    "tendencies",
    "work_rows",
    "wrap",
]

OPTIONS: dict[str, Any] = dict(cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
LANES = 32  # most members side by side: whole cache lines, so that neighbours are aligned alike
BLOCK = 1280  # most elements of a block, for work arrays that stay in the fastest cache; longer rings are cut


@njit(**OPTIONS)
def _lanes(n):
    """Return how many members stand side by side."""
    return max(1, min(LANES, BLOCK // n))


@njit(**OPTIONS)
def work_rows(rows, size):
    """Return uninitialised rows that begin with a cache line: vectors across two of them cost double."""
    size = -(-size // 8) * 8
    space = np.empty(rows * size + 8)
    start = (-space.ctypes.data % 64) // 8
    return space[start : start + rows * size].reshape(rows, size)


@njit(**OPTIONS)
def wrap(p, n, L):
    """Fill the periodic cells."""
    # Indices are unsigned, here and below: Numba asks of signed ones whether they count from the end.
    two, last, end = uintp(2 * L), uintp(n * L), uintp((n + 2) * L)
    for i in range(two):
        p[i] = p[i + last]
        p[i + end] = p[i + two]


@njit(**OPTIONS)
def _slope(p, i, one, two, three, forcing):
    """Return the tendency at the element `i + two`."""
    return (p[i + three] - p[i]) * p[i + one] - p[i + two] + forcing


@njit(**OPTIONS)
def _first_stage(x, total, q, n, L, forcing, b, c):
    """Set `total` to `x + b k` and `q` to `x + c k`, where k is the tendency of `x`."""
    one, two, three = uintp(L), uintp(2 * L), uintp(3 * L)
    for i in range(uintp(n * L)):
        k = _slope(x, i, one, two, three, forcing)
        total[i + two] = x[i + two] + b * k
        q[i + two] = x[i + two] + c * k


@njit(**OPTIONS)
def _stage(p, x, total, q, n, L, forcing, b, c):
    """Add `b k` to `total` and set `q` to `x + c k`, where k is the tendency of `p`."""
    one, two, three = uintp(L), uintp(2 * L), uintp(3 * L)
    for i in range(uintp(n * L)):
        k = _slope(p, i, one, two, three, forcing)
        total[i + two] += b * k
        q[i + two] = x[i + two] + c * k


@njit(**OPTIONS)
def _last_stage(p, total, n, L, forcing, b):
    """Add `b k` to `total`, where k is the tendency of `p`."""
    one, two, three = uintp(L), uintp(2 * L), uintp(3 * L)
    for i in range(uintp(n * L)):
        total[i + two] += b * _slope(p, i, one, two, three, forcing)


@njit(**OPTIONS)
def step(x, total, rows, n, L, dt, forcing, nodes, weights):
    """Set `total` to `x` after one step; the states of the stages behind the first go through `rows` in turn."""
    last = nodes.size - 1
    wrap(x, n, L)
    _first_stage(x, total, rows[0], n, L, forcing, weights[0] * dt, nodes[min(1, last)] * dt)
    for j in range(1, last):
        p, q = rows[(j - 1) % len(rows)], rows[j % len(rows)]
        wrap(p, n, L)
        _stage(p, x, total, q, n, L, forcing, weights[j] * dt, nodes[j + 1] * dt)
    if last > 0:
        p = rows[(last - 1) % len(rows)]
        wrap(p, n, L)
        _last_stage(p, total, n, L, forcing, weights[last] * dt)


@njit(**OPTIONS)
def load(E, m, column, x, n, L):
    """Set `x` to rows `m` to `m + L` of `E` and `n` of its columns, from `column` on and around the ring."""
    done = 0
    while done < n:
        column %= E.shape[1]
        run = min(n - done, E.shape[1] - column)
        for l in range(L):
            row, first, stride = E[m + l, column : column + run], uintp((2 + done) * L + l), uintp(L)
            for i in range(uintp(run)):
                x[first + i * stride] = row[i]
        done, column = done + run, column + run


@njit(**OPTIONS)
def store(x, skipped, out, m, column, n, L):
    """Set rows `m` to `m + L` and `n` columns of `out` to the variables of `x` after those skipped."""
    for l in range(L):
        row, first, stride = out[m + l, column : column + n], uintp((2 + skipped) * L + l), uintp(L)
        for i in range(uintp(n)):
            row[i] = x[first + i * stride]


@njit(**OPTIONS)
def tendencies(E, forcing):
    """Return dx/dt of every row of `E`."""
    out, n = np.empty_like(E), E.shape[1]
    p = np.empty(n + 4)
    for m in range(len(E)):
        load(E, m, 0, p, n, 1)
        wrap(p, n, 1)
        for i in range(uintp(n)):
            out[m, i] = _slope(p, i, uintp(1), uintp(2), uintp(3), forcing)
    return out


@njit(**OPTIONS)
def parts(members, n):
    """Return into how many blocks of members and how many windows of the ring an ensemble is cut."""
    return -(-members // _lanes(n)), -(-n // BLOCK)


@njit(**OPTIONS)
def steps_at_once(n, steps):
    """Return how many of `steps` steps a part of an ensemble can take on its own: one if the ring is cut."""
    return max(1, steps) if n <= BLOCK else 1


@njit(**OPTIONS)
def place(part, members, n):
    """Return the first member of a part and how many they are, its first column and how many they are."""
    lanes, windows = _lanes(n), parts(members, n)[1]
    m, column = part // windows * lanes, part % windows * BLOCK
    return m, min(lanes, members - m), column, min(BLOCK, n - column)


@njit(**OPTIONS)
def _advance_part(E, out, part, steps, dt, forcing, nodes, weights):
    """Set one part of `out` to `E` after `steps` steps.

    A window is taken for a ring of its own. What is wrong at its seam moves by two cells to the right and one to the
    left in every stage, so it does not reach the variables wanted if as many others are around them.
    """
    m, L, column, wanted = place(part, *E.shape)
    before, after = (0, 0) if wanted == E.shape[1] else (2 * nodes.size, nodes.size)
    n = before + wanted + after
    work = work_rows(4, (n + 4) * L)
    x, total, rows = work[0], work[1], work[2:]
    load(E, m, column - before, x, n, L)
    for _ in range(steps):
        step(x, total, rows, n, L, dt, forcing, nodes, weights)
        x, total = total, x
    store(x, before, out, m, column, wanted, L)


# Two functions and not one compiled twice: Numba's cache tells functions apart by their code, not by `parallel`.
@njit(**OPTIONS)
def advance(E, out, steps, dt, forcing, nodes, weights):
    """Set `out` to the rows of `E` after `steps` steps; as many as `steps_at_once` allows."""
    blocks, windows = parts(*E.shape)
    for part in range(blocks * windows):
        _advance_part(E, out, part, steps, dt, forcing, nodes, weights)


@njit(parallel=True, **OPTIONS)
def advance_parallel(E, out, steps, dt, forcing, nodes, weights):
    """Do the same, with the parts shared among threads."""
    blocks, windows = parts(*E.shape)
    for part in prange(blocks * windows):
        _advance_part(E, out, part, steps, dt, forcing, nodes, weights)
