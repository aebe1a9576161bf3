"""Explicit Runge-Kutta schemes as data.

A scheme whose stage `j` starts from `x + c_j dt k_{j-1}` and ends as `x + dt sum_j b_j k_j` is two short arrays; the
kernels of every model read them, so a new scheme is one line here.
"""

from typing import NamedTuple

import numpy as np

from scoreda.errors import suggest

__all__ = ["SCHEMES", "Scheme", "scheme_named"]


class Scheme(NamedTuple):
    """Nodes `c` (the first is 0) and weights `b` of a scheme with one subdiagonal."""

    nodes: np.ndarray
    weights: np.ndarray
    order: int


SCHEMES = {
    "euler": Scheme(np.array([0.0]), np.array([1.0]), 1),
    "midpoint": Scheme(np.array([0.0, 0.5]), np.array([0.0, 1.0]), 2),
    "rk4": Scheme(np.array([0.0, 0.5, 0.5, 1.0]), np.array([1.0, 2.0, 2.0, 1.0]) / 6.0, 4),
}


def scheme_named(name: str) -> Scheme:
    """Return the scheme called `name`; ValueError with the nearest name if there is none."""
    if name not in SCHEMES:
        raise ValueError(f"unknown scheme '{name}'; {suggest(name, SCHEMES)}")
    return SCHEMES[name]
