"""Localisation: how much an observation counts at a grid point, and which observations count at all."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Neighbourhoods", "Taper", "gaspari_cohn", "neighbourhoods"]

Taper = Callable[[np.ndarray], np.ndarray]


def gaspari_cohn(r: np.ndarray) -> np.ndarray:
    r"""Return the fifth-order piecewise rational correlation function of Gaspari and Cohn.

    $$ 1 - \tfrac53 r^2 + \tfrac58 r^3 + \tfrac12 r^4 - \tfrac14 r^5 \ (r \le 1), \quad
       4 - 5 r + \tfrac53 r^2 + \tfrac58 r^3 - \tfrac12 r^4 + \tfrac1{12} r^5 - \tfrac{2}{3 r} \ (1 < r < 2) $$

    Args:
        r: Distances in units of the half-width c, any shape, not negative.
    Returns: Weights of the same shape: 1 at 0, 5/24 at 1, exactly 0 from 2 on.
    Source: Gaspari and Cohn (1999), eq. 4.10, https://doi.org/10.1002/qj.49712555417
    """
    r = np.asarray(r, dtype=np.float64)
    near = 1 + r**2 * (-5 / 3 + r * (5 / 8 + r * (1 / 2 - r / 4)))
    s = np.clip(r, 1, 2)
    far = 4 - 5 * s + s**2 * (5 / 3 + s * (5 / 8 + s * (-1 / 2 + s / 12))) - 2 / (3 * s)
    return np.where(r <= 1, near, np.where(r < 2, np.maximum(far, 0), 0.0))


class Neighbourhoods(NamedTuple):
    """The observations near every variable: those of variable `i` are `obs[start[i] : start[i + 1]]`.

    Attributes:
        start: `(Nx + 1,)` integers.
        obs: Indices into the observations, one per pair of a variable and an observation near it.
        weight: Taper of every pair, positive.
    """

    start: np.ndarray
    obs: np.ndarray
    weight: np.ndarray


def neighbourhoods(
    locations: np.ndarray, state_size: int, radius: float, taper: Taper = gaspari_cohn, periodic: bool = True
) -> Neighbourhoods:
    """Find the observations within `2 radius` of every grid point `0 .. state_size - 1`; the cost is linear in pairs.

    Args:
        locations: Grid positions of the observations `(Ny,)`, not necessarily whole numbers.
        state_size: Nx.
        radius: Half-width c of the taper, grid points.
        taper: Weight as a function of distance / radius; must vanish from 2 on.
        periodic: Whether the grid is a ring of circumference Nx, or a line.
    """
    reach = min(2 * radius, state_size / 2) if periodic else 2 * radius
    places, origin = _unrolled(locations, state_size) if periodic else _in_order(locations)
    grid = np.arange(state_size)
    # Half-open windows, so that on a ring the antipode counts once.
    first, last = np.searchsorted(places, grid - reach), np.searchsorted(places, grid + reach)
    counts = last - first
    variable = np.repeat(grid, counts)
    pair = np.arange(counts.sum()) + np.repeat(last - np.cumsum(counts), counts)
    weight = taper(np.abs(places[pair] - variable) / radius)
    kept = weight > 0
    start = np.concatenate([[0], np.cumsum(np.bincount(variable[kept], minlength=state_size))])
    return Neighbourhoods(start, origin[pair[kept]], weight[kept])


def _in_order(locations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the locations in ascending order and the observation each belongs to."""
    order = np.argsort(locations, kind="stable")
    return locations[order], order


def _unrolled(locations: np.ndarray, state_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for a ring, with one copy of every observation to either side."""
    places, order = _in_order(locations % state_size)
    return np.concatenate([places - state_size, places, places + state_size]), np.tile(order, 3)
