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
LINE = 8  # numbers of a cache line: as many members are side by side where rings are cut
BLOCK = 1280  # most elements of a block, for work arrays that stay in the fastest cache; longer rings are cut


@njit(**OPTIONS)
def _lanes(members, n):
    """Return how many members stand side by side."""
    return min(members, LINE) if n > BLOCK else max(1, min(LANES, BLOCK // n))


@njit(**OPTIONS)
def _window(members, n):
    """Return how many variables of a ring are taken at once."""
    return BLOCK * 2 // _lanes(members, n) if n > BLOCK else n


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
def _load_rows(E, m, column, x, first, run, L):
    """Set `x` from `first` on to columns of `LINE` rows of `E`: a cache line of `x` at a time."""
    for i in range(run):
        for l in range(uintp(LINE)):
            x[first + i * L + l] = E[m + l, column + i]


@njit(**OPTIONS)
def _load_row(E, m, column, x, first, run, L):
    """Set `x` from `first` on to columns of one row of `E`."""
    for i in range(run):
        x[first + i * L] = E[m, column + i]


@njit(**OPTIONS)
def load(E, m, column, x, n, L):
    """Set `x` to rows `m` to `m + L` of `E` and `n` of its columns, from `column` on and around the ring."""
    done, lined = 0, L // LINE * LINE
    while done < n:
        column %= E.shape[1]
        run, first = min(n - done, E.shape[1] - column), (2 + done) * L
        for l in range(0, lined, LINE):
            _load_rows(E, uintp(m + l), uintp(column), x, uintp(first + l), uintp(run), uintp(L))
        for l in range(lined, L):
            _load_row(E, uintp(m + l), uintp(column), x, uintp(first + l), uintp(run), uintp(L))
        done, column = done + run, column + run


@njit(**OPTIONS)
def _store_line(x, first, out, m, column, L):
    """Set a cache line in each of L rows of `out` to elements of `x` from `first` on."""
    for l in range(L):
        for i in range(uintp(LINE)):
            out[m + l, column + i] = x[first + i * L + l]


@njit(**OPTIONS)
def _store_row(x, first, out, m, column, run, L):
    """Set columns of one row of `out` to elements of `x` from `first` on."""
    for i in range(run):
        out[m, column + i] = x[first + i * L]


@njit(**OPTIONS)
def store(x, skipped, out, m, column, n, L):
    """Set rows `m` to `m + L` and `n` columns of `out` to the variables of `x` after those skipped."""
    first, lined = (2 + skipped) * L, n // LINE * LINE if L >= LINE else 0
    for i in range(0, lined, LINE):
        _store_line(x, uintp(first + i * L), out, uintp(m), uintp(column + i), uintp(L))
    first, column, n = first + lined * L, column + lined, n - lined
    for l in range(L if n else 0):
        _store_row(x, uintp(first + l), out, uintp(m + l), uintp(column), uintp(n), uintp(L))


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
    return -(-members // _lanes(members, n)), -(-n // _window(members, n))


@njit(**OPTIONS)
def steps_at_once(n, steps):
    """Return how many of `steps` steps a part of an ensemble can take on its own: one if the ring is cut."""
    return max(1, steps) if n <= BLOCK else 1


@njit(**OPTIONS)
def place(part, members, n):
    """Return the first member of a part and how many they are, its first column and how many they are."""
    lanes, window = _lanes(members, n), _window(members, n)
    m, column = part // -(-n // window) * lanes, part % -(-n // window) * window
    return m, min(lanes, members - m), column, min(window, n - column)


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
