"""What assimilation methods ask of an observation operator."""

from typing import Any, Protocol

import numpy as np

__all__ = ["Operator"]


class Operator(Protocol):
    """What assimilation methods ask of an operator; `locations` are grid positions `(Ny,)`, or None if it has none.

    A class may name in `carried` the arrays, and operators inside, that observing takes: see `carried_to`.
    """

    name: str
    state_size: int
    size: int
    linear: bool
    locations: np.ndarray | None

    def __call__(self, E: Any) -> Any:
        """Observe states `(..., Nx)`; returns `(..., Ny)` of the same kind."""
        ...

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Return the derivative at `x` `(Nx,)` along the rows of `dX` `(M, Nx)`, shape `(M, Ny)`."""
        ...

    def restrict(self, keep: np.ndarray) -> "Operator":
        """Return the operator of the outputs with indices `keep`."""
        ...

    def spec(self) -> dict[str, Any] | None:
        """Return what rebuilds the operator from a file, or None if only code can."""
        ...
