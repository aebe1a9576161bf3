"""Observation operators: from states to what an instrument sees.

Every operator is called as `operator(E)` on NumPy arrays or torch tensors with the state on the last axis, knows its
derivative, and can be restricted to some of its outputs (that is how missing values are dropped).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from scoreda.errors import ScoredaError, suggest

__all__ = [
    "FUNCTIONS",
    "Elementwise",
    "EveryNth",
    "Identity",
    "Operator",
    "Sites",
    "UserOperator",
    "operator_from_spec",
]


class Operator(Protocol):
    """What assimilation methods ask of an operator; `locations` are grid positions `(Ny,)`, or None if it has none."""

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


class Sites:
    """The state itself at listed sites, in the order given.

    Raises:
        ValueError: if a site is outside `0 .. state_size - 1`, or none is given.
    """

    name = "sites"
    linear = True

    def __init__(self, state_size: int, sites: Sequence[int] | np.ndarray) -> None:
        index = np.asarray(sites, dtype=np.int64).ravel()
        outside = index[(index < 0) | (index >= state_size)]
        if len(outside):
            raise ValueError(
                f"site {outside[0]} is out of range: the state has {state_size} variables, 0 to {state_size - 1}."
            )
        if not len(index):
            raise ValueError("no site is observed. List at least one.")
        self.state_size, self.size, self.sites = int(state_size), len(index), index
        self.locations: np.ndarray | None = index.astype(np.float64)

    def __call__(self, E: Any) -> Any:
        """Select the sites on the last axis."""
        return E[..., self.sites]

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Select the sites of the perturbations."""
        return dX[:, self.sites]

    def restrict(self, keep: np.ndarray) -> "Sites":
        """Keep some of the sites."""
        return Sites(self.state_size, self.sites[keep])

    def spec(self) -> dict[str, Any]:
        """Return the sites."""
        return dict(name=self.name, state_size=self.state_size, sites=self.sites.tolist())


def Identity(state_size: int) -> Sites:  # noqa: N802 - reads as the operator's name
    """Observe every variable."""
    return Sites(state_size, np.arange(state_size))


def EveryNth(state_size: int, step: int, start: int = 0) -> Sites:  # noqa: N802
    """Observe variables `start, start + step, ...`."""
    if step < 1:
        raise ValueError(f"`step` must be at least 1, got {step}.")
    return Sites(state_size, np.arange(start, state_size, step))


def _library(x: Any) -> Any:
    """Return the module (numpy or torch) that `x` belongs to."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch


# name: (function, derivative), both for NumPy and torch
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "arctan": (lambda x: _library(x).arctan(x), lambda x: 1 / (1 + x**2)),
    "abs": (lambda x: abs(x), lambda x: _library(x).sign(x)),
}


class Elementwise:
    """A scalar function of the selected variables, such as `Elementwise(Identity(40), "arctan")`.

    Args:
        selection: Which variables.
        function: A name of `FUNCTIONS`.
    """

    name = "elementwise"
    linear = False

    def __init__(self, selection: Sites, function: str) -> None:
        if function not in FUNCTIONS:
            raise ValueError(f"unknown function '{function}'; {suggest(function, FUNCTIONS)}")
        self.selection, self.function = selection, function
        self._function, self._derivative = FUNCTIONS[function]
        self.state_size, self.size, self.locations = selection.state_size, selection.size, selection.locations

    def __call__(self, E: Any) -> Any:
        """Apply the function to the selected variables."""
        return self._function(self.selection(E))

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Scale the selected perturbations by the derivative."""
        return self._derivative(self.selection(x)) * self.selection.tangent(x, dX)

    def restrict(self, keep: np.ndarray) -> "Elementwise":
        """Keep some of the outputs."""
        return Elementwise(self.selection.restrict(keep), self.function)

    def spec(self) -> dict[str, Any]:
        """Return the function and the selection."""
        return dict(name=self.name, function=self.function, selection=self.selection.spec())


class UserOperator:
    """Any callable on states `(..., Nx)` that returns `(..., size)`.

    Args:
        function: For NumPy arrays; if it works on torch tensors too, the derivative comes from autograd when none is
            given.
        state_size: Nx.
        size: Ny.
        tangent: Optional `(x, dX) -> (M, Ny)`.
        locations: Optional grid positions `(Ny,)`; without them methods that localise refuse the operator.
        linear: Whether the function is linear; methods exact for linear operators then take their short path.
    """

    name = "user"

    def __init__(
        self,
        function: Callable[[Any], Any],
        state_size: int,
        size: int,
        tangent: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        locations: np.ndarray | None = None,
        linear: bool = False,
    ) -> None:
        self.function, self.state_size, self.size, self.linear = function, int(state_size), int(size), linear
        self._tangent = tangent
        self.locations = None if locations is None else np.asarray(locations, dtype=np.float64)
        if self.locations is not None and self.locations.shape != (size,):
            raise ValueError(f"`locations` must have shape ({size},), got {self.locations.shape}.")

    def __call__(self, E: Any) -> Any:
        """Apply the function; ValueError if it returns another number of values than `size`."""
        y = self.function(E)
        if y.shape[-1] != self.size:
            raise ValueError(f"the operator returned {y.shape[-1]} values, but size={self.size}. Correct `size`.")
        return y

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Return the given derivative, or torch's."""
        if self._tangent is not None:
            return self._tangent(x, dX)
        import torch

        try:
            jacobian = torch.autograd.functional.jacobian(self.function, torch.as_tensor(x, dtype=torch.float64))
        except Exception as error:
            raise ValueError(
                f"the operator has no derivative: torch could not differentiate it ({error}). Pass tangent=."
            ) from error
        return dX @ jacobian.numpy().T

    def restrict(self, keep: np.ndarray) -> "UserOperator":
        """Keep some of the outputs."""
        keep = np.asarray(keep)
        return UserOperator(
            lambda E: self(E)[..., keep], self.state_size, len(keep),
            None if self._tangent is None else lambda x, dX: self._tangent(x, dX)[:, keep],  # type: ignore[misc]
            None if self.locations is None else self.locations[keep], self.linear,
        )  # fmt: skip

    def spec(self) -> None:
        """Return None: only the code that made the callable can rebuild it."""
        return None


def operator_from_spec(spec: dict[str, Any]) -> Operator:
    """Rebuild an operator from `operator.spec()`."""
    match spec.get("name"):
        case "sites":
            return Sites(spec["state_size"], spec["sites"])
        case "elementwise":
            selection = spec["selection"]
            return Elementwise(Sites(selection["state_size"], selection["sites"]), spec["function"])
        case name:
            raise ScoredaError(f"unknown operator '{name}'; {suggest(str(name), ['sites', 'elementwise'])}")
