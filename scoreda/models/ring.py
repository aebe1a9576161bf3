r"""The convection of Lorenz (1996) on a ring, its derivative and the transpose, for NumPy arrays and torch tensors.

$$ c_i(x) = (x_{i+s} - x_{i-2s})\, x_{i-s} $$

with the direction `s = 1` as Lorenz96 has it, or `s = -1` for its mirror image.
"""

from typing import Any

import numpy as np

__all__ = ["convection", "convection_adjoint", "convection_tangent", "shifted"]


def shifted(x: Any, k: int) -> Any:
    """Return `x_{i+k}` at `i`, periodic along the last axis."""
    return np.roll(x, -k, -1) if isinstance(x, np.ndarray) else x.roll(-k, -1)


def convection(x: Any, s: int = 1) -> Any:
    """Return the convection of states `(..., Nx)`."""
    return (shifted(x, s) - shifted(x, -2 * s)) * shifted(x, -s)


def convection_tangent(x: Any, dX: Any, s: int = 1) -> Any:
    """Return the derivative at `x` along `dX`."""
    slope = (shifted(x, s) - shifted(x, -2 * s)) * shifted(dX, -s)
    return slope + (shifted(dX, s) - shifted(dX, -2 * s)) * shifted(x, -s)


def convection_adjoint(x: Any, dY: Any, s: int = 1) -> Any:
    """Apply the transposed derivative at `x` to `dY`."""
    carried = shifted(x, -s) * dY
    sheared = (shifted(x, s) - shifted(x, -2 * s)) * dY
    return shifted(carried, -s) - shifted(carried, 2 * s) + shifted(sheared, s)
