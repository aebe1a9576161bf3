"""Linear operators besides the selection of sites: any matrix, and interpolation between grid points."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scoreda.observations.arrays import like

__all__ = ["Interpolated", "Linear"]


class Linear:
    """A matrix.

    Args:
        matrix: H, shape `(Ny, Nx)`.
        locations: Optional grid positions `(Ny,)`; without them methods that localise refuse the operator.

    Raises:
        ValueError: if the matrix is not one, is empty or not finite, or there are not as many locations as rows.
    """

    name = "linear"
    linear = True
    carried = ("matrix",)

    def __init__(self, matrix: np.ndarray, locations: np.ndarray | None = None) -> None:
        self.matrix = np.array(matrix, dtype=np.float64)
        if self.matrix.ndim != 2 or not self.matrix.size or not np.isfinite(self.matrix).all():
            raise ValueError(f"`matrix` must be finite and of shape (Ny, Nx), got shape {self.matrix.shape}.")
        self.size, self.state_size = self.matrix.shape
        self.locations = None if locations is None else np.asarray(locations, dtype=np.float64)
        if self.locations is not None and self.locations.shape != (self.size,):
            raise ValueError(f"`locations` must have shape ({self.size},), got {self.locations.shape}.")

    def __call__(self, E: Any) -> Any:
        """Multiply states by the matrix."""
        return E @ like(self.matrix.T, E)

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Multiply perturbations by the matrix."""
        return self(dX)

    def restrict(self, keep: np.ndarray) -> "Linear":
        """Keep some of the rows."""
        return Linear(self.matrix[keep], None if self.locations is None else self.locations[keep])

    def spec(self) -> dict[str, Any]:
        """Return the matrix and the locations."""
        locations = None if self.locations is None else self.locations.tolist()
        return dict(name=self.name, matrix=self.matrix.tolist(), locations=locations)


class Interpolated:
    """The state at positions between grid points, by linear interpolation.

    Args:
        state_size: Nx.
        positions: Grid positions `(Ny,)`, 3.25 lying a quarter of the way from variable 3 to variable 4.
        periodic: Whether the grid is a ring, on which the last variable is followed by the first; else a line.

    Raises:
        ValueError: if a position is outside the ring `[0, Nx)` or the line `[0, Nx - 1]`, or none is given.
    """

    name = "interpolated"
    linear = True
    carried = ("_before", "_after", "_weight")

    def __init__(self, state_size: int, positions: Sequence[float] | np.ndarray, periodic: bool = True) -> None:
        at = np.asarray(positions, dtype=np.float64).ravel()
        inside = (at >= 0) & ((at < state_size) if periodic else (at <= state_size - 1))
        if not len(at):
            raise ValueError("no position is observed. List at least one.")
        if not inside.all():
            domain = f"[0, {state_size})" if periodic else f"[0, {state_size - 1}]"
            raise ValueError(f"position {at[~inside][0]:g} is outside {domain}, the grid of {state_size} variables.")
        self.state_size, self.size, self.periodic, self.locations = int(state_size), len(at), periodic, at
        self._before = np.floor(at).astype(np.int64)
        self._after = (self._before + 1) % state_size
        self._weight = at - self._before

    def __call__(self, E: Any) -> Any:
        """Interpolate on the last axis."""
        weight = like(self._weight, E)
        return (1 - weight) * E[..., self._before] + weight * E[..., self._after]

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Interpolate the perturbations."""
        return self(dX)

    def restrict(self, keep: np.ndarray) -> "Interpolated":
        """Keep some of the positions."""
        return Interpolated(self.state_size, self.locations[keep], self.periodic)

    def spec(self) -> dict[str, Any]:
        """Return the positions."""
        positions = self.locations.tolist()
        return dict(name=self.name, state_size=self.state_size, positions=positions, periodic=self.periodic)
