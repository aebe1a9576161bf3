"""Scalar functions of what another operator sees."""

from collections.abc import Callable
from typing import Any

import numpy as np

from scoreda.errors import suggest
from scoreda.observations.arrays import library
from scoreda.observations.operators.base import Operator

__all__ = ["FUNCTIONS", "Elementwise"]

FLOOR = 0.01  # keeps the logarithm of |x| finite at zero

# name: (function, derivative), both for NumPy and torch
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "abs": (lambda x: abs(x), lambda x: library(x).sign(x)),
    "arctan": (lambda x: library(x).arctan(x), lambda x: 1 / (1 + x**2)),
    "cube": (lambda x: x**3, lambda x: 3 * x**2),
    "exp": (lambda x: library(x).exp(x), lambda x: library(x).exp(x)),
    "log_abs": (lambda x: library(x).log(abs(x) + FLOOR), lambda x: library(x).sign(x) / (abs(x) + FLOOR)),
    "square": (lambda x: x**2, lambda x: 2 * x),
}


class Elementwise:
    """A scalar function of each output of another operator, such as `Elementwise(Identity(40), "arctan")`.

    Args:
        selection: The inner operator: which variables, or what of them.
        function: A name of `FUNCTIONS`.
    """

    name = "elementwise"
    linear = False
    carried = ("selection",)

    def __init__(self, selection: Operator, function: str) -> None:
        if function not in FUNCTIONS:
            raise ValueError(f"unknown function '{function}'; {suggest(function, FUNCTIONS)}")
        self.selection, self.function = selection, function
        self.state_size, self.size, self.locations = selection.state_size, selection.size, selection.locations

    def __call__(self, E: Any) -> Any:
        """Apply the function to what the inner operator sees."""
        function, _ = FUNCTIONS[self.function]
        return function(self.selection(E))

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Scale the inner operator's perturbations by the derivative."""
        _, derivative = FUNCTIONS[self.function]
        return derivative(self.selection(x)) * self.selection.tangent(x, dX)

    def restrict(self, keep: np.ndarray) -> "Elementwise":
        """Keep some of the outputs."""
        return Elementwise(self.selection.restrict(keep), self.function)

    def spec(self) -> dict[str, Any] | None:
        """Return the function and the selection, or None if the selection has no spec."""
        selection = self.selection.spec()
        return selection and dict(name=self.name, function=self.function, selection=selection)
