"""An operator of the user's own."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from scoreda.observations.arrays import library

__all__ = ["UserOperator"]

NO_TENSORS = (
    "the function of the operator must take torch tensors to run on a device, but fails on one ({}). "
    "Write it with operations that arrays and tensors share, or stay in NumPy: no `device`, and a prior on the CPU."
)


class UserOperator:
    """Any callable on states `(..., Nx)` that returns `(..., size)`.

    Args:
        function: For NumPy arrays; if it works on torch tensors too, the derivative comes from autograd when none is
            given, and methods can run it on a device.
        state_size: Nx.
        size: Ny.
        tangent: Optional `(x, dX) -> (M, Ny)`.
        locations: Optional grid positions `(Ny,)`; without them methods that localise refuse the operator.
        linear: Whether the function is linear; methods exact for linear operators then take their short path.
    """

    name = "user"
    carried = ("_kept",)

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
        self._tangent, self._outputs = tangent, int(size)
        self._kept: np.ndarray | None = None  # which of its outputs the function is asked for; all
        self.locations = None if locations is None else np.asarray(locations, dtype=np.float64)
        if self.locations is not None and self.locations.shape != (size,):
            raise ValueError(f"`locations` must have shape ({size},), got {self.locations.shape}.")

    def __call__(self, E: Any) -> Any:
        """Apply the function.

        Raises:
            ValueError: if it returns another number of values than `size`, or does not take the tensor it is given.
        """
        y = self.function(E) if library(E) is np else self._of_tensor(E)
        if y.shape[-1] != self._outputs:
            raise ValueError(f"the operator returned {y.shape[-1]} values, but size={self._outputs}. Correct `size`.")
        return y if self._kept is None else y[..., self._kept]

    def _of_tensor(self, E: Any) -> Any:
        """Apply the function to a tensor; ValueError if it does not take one."""
        try:
            y = self.function(E)
        except (TypeError, AttributeError, RuntimeError) as error:
            raise ValueError(NO_TENSORS.format(error)) from error
        if library(y) is np:
            raise ValueError(NO_TENSORS.format("it returns a NumPy array"))
        return y

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Return the given derivative, or torch's."""
        dY = self._derivative(x, dX) if self._tangent is None else self._tangent(x, dX)
        return dY if self._kept is None else dY[:, self._kept]

    def _derivative(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
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
        part = copy.copy(self)
        part._kept = np.arange(self._outputs)[keep] if self._kept is None else self._kept[keep]
        part.size, part.locations = len(part._kept), None if self.locations is None else self.locations[keep]
        return part

    def spec(self) -> None:
        """Return None: only the code that made the callable can rebuild it."""
        return None
