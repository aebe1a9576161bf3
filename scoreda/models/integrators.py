"""Explicit Runge-Kutta schemes as data, and the map, the tangent map and its transpose that they make of a tendency.

A scheme whose stage `j` starts from `x + c_j dt k_{j-1}` and ends as `x + dt sum_j b_j k_j` is two short arrays; the
kernels of every model read them, so a new scheme is one line here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from scoreda.errors import suggest

__all__ = ["SCHEMES", "Scheme", "advance", "advance_adjoint", "advance_tangent", "scheme_named"]

Map = Callable[[Any], Any]
Along = Callable[[Any, Any], Any]


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


def _step(tendency: Map, x: Any, dt: float, scheme: Scheme) -> tuple[list[Any], Any]:
    """Return the states of the stages, and the state after one step."""
    stages: list[Any] = []
    k, increment = None, 0.0
    for c, b in zip(scheme.nodes.tolist(), scheme.weights.tolist(), strict=True):
        stages.append(x if k is None else x + c * dt * k)
        k = tendency(stages[-1])
        increment = increment + b * dt * k
    return stages, x + increment


def advance(tendency: Map, x: Any, steps: int, dt: float, scheme: Scheme) -> Any:
    """Return `x`, a NumPy array or torch tensor of any shape, after `steps` steps."""
    for _ in range(steps):
        x = _step(tendency, x, dt, scheme)[1]
    return x


def advance_tangent(
    tendency: Map, tangent: Along, x: Any, dX: Any, steps: int, dt: float, scheme: Scheme
) -> tuple[Any, Any]:
    """Carry `dX` `(M, Nx)` along the trajectory from `x` `(Nx,)`; `tangent(x, dX)` is the tendency's derivative."""
    for _ in range(steps):
        stages, x = _step(tendency, x, dt, scheme)
        dX = _step(_along(tangent, stages), dX, dt, scheme)[1]
    return x, dX


def _along(tangent: Along, stages: list[Any]) -> Map:
    """Return the linearised tendency, at the next of `stages` in every call."""
    visited = iter(stages)
    return lambda d: tangent(next(visited), d)


def advance_adjoint(tendency: Map, adjoint: Along, x: Any, dY: Any, steps: int, dt: float, scheme: Scheme) -> Any:
    """Apply the transposed tangent map to the rows of `dY` `(M, Nx)`; `adjoint(x, dY)` transposes the derivative."""
    trajectory = []
    for _ in range(steps):
        stages, x = _step(tendency, x, dt, scheme)
        trajectory.append(stages)
    for stages in reversed(trajectory):
        dY = _step_adjoint(adjoint, stages, dY, dt, scheme)
    return dY


def _step_adjoint(adjoint: Along, stages: list[Any], dY: Any, dt: float, scheme: Scheme) -> Any:
    total, following, c_next = dY, 0.0, 0.0
    for x, c, b in zip(stages[::-1], scheme.nodes[::-1], scheme.weights[::-1], strict=True):
        following = adjoint(x, b * dt * dY + c_next * dt * following)
        total, c_next = total + following, c
    return total
