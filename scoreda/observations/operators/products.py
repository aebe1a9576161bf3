"""Products of neighbours on a ring, such as a flux."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scoreda.observations.operators.sites import Sites

__all__ = ["NeighbourProducts"]


class NeighbourProducts:
    """The product of two variables `lag` apart, $x_i x_{i+l}$, at some sites of a ring.

    Args:
        state_size: Nx.
        sites: The first site of each product; every site by default.
        lag: Distance of the two, l.

    Raises:
        ValueError: if a site is out of range, none is given, or the lag is not in 1 .. Nx - 1.
    """

    name = "neighbour_products"
    linear = False
    carried = ("_first", "_second")

    def __init__(self, state_size: int, sites: Sequence[int] | np.ndarray | None = None, lag: int = 1) -> None:
        if not 1 <= lag < state_size:
            raise ValueError(f"`lag` must be 1 to {state_size - 1}, got {lag}.")
        self._first = Sites(state_size, np.arange(state_size) if sites is None else sites)
        self._second = Sites(state_size, (self._first.sites + lag) % state_size)
        self.state_size, self.size, self.lag = self._first.state_size, self._first.size, int(lag)
        self.locations = (self._first.sites + lag / 2) % state_size

    def __call__(self, E: Any) -> Any:
        """Multiply the neighbours."""
        return self._first(E) * self._second(E)

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Apply the product rule."""
        return self._first(x) * self._second(dX) + self._first(dX) * self._second(x)

    def restrict(self, keep: np.ndarray) -> "NeighbourProducts":
        """Keep some of the products."""
        return NeighbourProducts(self.state_size, self._first.sites[keep], self.lag)

    def spec(self) -> dict[str, Any]:
        """Return sites and lag."""
        return dict(name=self.name, state_size=self.state_size, sites=self._first.sites.tolist(), lag=self.lag)
