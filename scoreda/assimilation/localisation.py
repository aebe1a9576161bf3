"""Localisation: how much an observation counts at a grid point, and which observations count at all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scoreda.models import Model
from scoreda.observations import Operator

__all__ = [
    "Distance", "Localisation", "Neighbourhoods", "Taper", "gaspari_cohn", "located", "neighbourhoods", "own_distance",
]  # fmt: skip

Taper = Callable[[np.ndarray], np.ndarray]
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


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

    def dense(self, number: int) -> np.ndarray:
        """Return the tapers as a matrix, one row per variable, one column for each of `number` observations."""
        W = np.zeros((len(self.start) - 1, number))
        W[np.repeat(np.arange(len(W)), np.diff(self.start)), self.obs] = self.weight
        return W


def neighbourhoods(
    locations: np.ndarray,
    state_size: int,
    radius: float,
    taper: Taper = gaspari_cohn,
    periodic: bool = True,
    centres: np.ndarray | None = None,
) -> Neighbourhoods:
    """Find the observations within `2 radius` of every grid point `0 .. state_size - 1`; the cost is linear in pairs.

    Args:
        locations: Grid positions of the observations `(Ny,)`, not necessarily whole numbers.
        state_size: Nx.
        radius: Half-width c of the taper, grid points.
        taper: Weight as a function of distance / radius; must vanish from 2 on.
        periodic: Whether the grid is a ring of circumference Nx, or a line.
        centres: Grid positions in place of all grid points.
    """
    reach = min(2 * radius, state_size / 2) if periodic else 2 * radius
    places, origin = _unrolled(locations, state_size) if periodic else _in_order(locations)
    grid = _centres(centres, state_size, periodic)
    # Half-open windows, so that on a ring the antipode counts once.
    first, last = np.searchsorted(places, grid - reach), np.searchsorted(places, grid + reach)
    counts = last - first
    pair = np.arange(counts.sum()) + np.repeat(last - np.cumsum(counts), counts)
    weight = taper(np.abs(places[pair] - np.repeat(grid, counts)) / radius)
    return _positive(np.repeat(np.arange(len(grid)), counts), origin[pair], weight, len(grid))


def _positive(row: np.ndarray, obs: np.ndarray, weight: np.ndarray, rows: int) -> Neighbourhoods:
    """Gather the pairs `(row, obs)`, sorted by row, whose weight is not zero."""
    kept = weight > 0
    start = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=rows))])
    return Neighbourhoods(start, obs[kept], weight[kept])


def _centres(centres: np.ndarray | None, state_size: int, periodic: bool) -> np.ndarray:
    if centres is None:
        return np.arange(state_size)
    return centres % state_size if periodic else centres


def _in_order(locations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the locations in ascending order and the observation each belongs to."""
    order = np.argsort(locations, kind="stable")
    return locations[order], order


def _unrolled(locations: np.ndarray, state_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for a ring, with one copy of every observation to either side."""
    places, order = _in_order(locations % state_size)
    return np.concatenate([places - state_size, places, places + state_size]), np.tile(order, 3)


@dataclass(frozen=True)
class Localisation:
    """Which places influence one another, and how much: `taper(distance / radius)`.

    Args:
        radius: Half-width c of the taper, grid points.
        taper: Weight as a function of distance / radius; must vanish from 2 on, or come with a `distance`.
        periodic: Whether the grid is a ring, or a line.
        distance: In place of the distance on ring or line, or of the model's own: `distance(a, b)` of grid positions
            `(n,)` and `(m,)`, shape `(n, m)`, in the units of `radius`. It is evaluated for all pairs.

    Raises:
        ValueError: if the radius is not positive and finite.
    """

    radius: float
    taper: Taper = gaspari_cohn
    periodic: bool = True
    distance: Distance | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.radius) and self.radius > 0):
            raise ValueError(
                f"`radius` must be positive, got {self.radius}. Pass the taper's half-width in grid points."
            )

    @classmethod
    def on(cls, model: Model, radius: float, taper: Taper, periodic: bool, distance: Distance | None) -> "Localisation":
        """Return the localisation on the grid of a model, with its own distance if it has one and none is given."""
        return cls(radius, taper, periodic, distance or own_distance(model))

    @classmethod
    def within(
        cls, model: Model, radius: float | None, taper: Taper, periodic: bool, distance: Distance | None
    ) -> "Localisation | None":
        """Return the same, or None for a radius of None: everything influences everything."""
        return None if radius is None else cls.on(model, radius, taper, periodic, distance)

    def near(self, locations: np.ndarray, state_size: int, centres: np.ndarray | None = None) -> Neighbourhoods:
        """Return the neighbours among `locations` of every centre; of every grid point if None.

        Args:
            locations: Grid positions `(Ny,)`.
            state_size: Number of grid points.
            centres: Grid positions `(n,)`.
        """
        if self.distance is None:
            return neighbourhoods(locations, state_size, self.radius, self.taper, self.periodic, centres)
        distance = self.distance(_centres(centres, state_size, False), locations)
        row, obs = np.indices(distance.shape).reshape(2, -1)
        return _positive(row, obs, self.taper(distance.ravel() / self.radius), len(distance))


def own_distance(model: Model) -> Distance | None:
    """Return the distance between the variables of a model that offers one, because they are no even grid."""
    return model.distance if "distance" in model.offers else None  # type: ignore[attr-defined]


def located(operator: Operator, method: str) -> np.ndarray:
    """Return the locations of what `operator` observes; ValueError if it has none, naming what does without them."""
    if operator.locations is None:
        raise ValueError(
            f"{method} needs to know where the observations are, but the operator '{operator.name}' has no locations. "
            "Pass `locations=` to the operator, or use ETKF or StochasticEnKF."
        )
    return operator.locations
