"""Numba kernel of Lorenz63: all members in one pass."""

import numpy as np
from numba import njit

__all__ = ["tendencies"]


@njit(cache=True, error_model="numpy")
def tendencies(E, P, r, b):
    """Return dx/dt of every row of `E`."""
    out = np.empty_like(E)
    for m in range(E.shape[0]):
        x, y, z = E[m, 0], E[m, 1], E[m, 2]
        out[m, 0] = P * (y - x)
        out[m, 1] = x * (r - z) - y
        out[m, 2] = x * y - b * z
    return out
