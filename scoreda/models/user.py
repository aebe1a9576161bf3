"""A model of the user's own: any vectorised callable that maps an ensemble to the next one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from scoreda.models.base import check_states

__all__ = ["UserModel"]


class UserModel:
    """Wrap `f(E) -> E`, one step of `dt` for an ensemble `(N, Nx)`.

    Args:
        function: One step; must return an array of the shape it was given.
        size: Number of variables Nx.
        dt: Length of one step, model time units.
        name: Shown in reports.
        tangent: Optional `(x, dX) -> (x_next, dX_next)`, one step along the rows of `dX` `(M, Nx)`.
        adjoint: Optional `(x, dY) -> dX`, the transpose of one tangent step.
        torch_function: Optional differentiable version of `function` for torch tensors `(..., Nx)`.
        random_states: Optional `(members, rng) -> (members, Nx)`, rough states to spin up from.

    Methods that need a capability which was not given refuse the model by name.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        size: int,
        dt: float = 1.0,
        name: str = "user",
        tangent: Callable[..., Any] | None = None,
        adjoint: Callable[..., Any] | None = None,
        torch_function: Callable[..., Any] | None = None,
        random_states: Callable[[int, np.random.Generator], np.ndarray] | None = None,
    ) -> None:
        if not callable(function):
            raise ValueError(f"`function` must be callable as f(E) -> E, got {type(function).__name__}.")
        if size < 1 or not dt > 0:
            raise ValueError(f"`size` and `dt` must be positive, got {size} and {dt}.")
        self.name, self.size, self.dt = name, int(size), float(dt)
        self._function: Callable[..., Any] = function
        self._tangent: Any = tangent
        self._adjoint: Any = adjoint
        self._torch: Any = torch_function
        self._random_states = random_states
        given = {"tangent": tangent, "adjoint": adjoint, "torch": torch_function}
        self.offers = frozenset(capability for capability, f in given.items() if f is not None)

    def step(self, E: np.ndarray, steps: int = 1) -> np.ndarray:
        """Advance the ensemble `E` `(N, Nx)`; ValueError if the callable changes its shape."""
        E = check_states(E, self.size).copy()
        for _ in range(steps):
            shape = E.shape
            E = np.asarray(self._function(E), dtype=np.float64)
            if E.shape != shape:
                raise ValueError(f"the model '{self.name}' returned shape {E.shape} for {shape}. Keep the shape.")
        return E

    def tangent(self, x: np.ndarray, dX: np.ndarray, steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Carry perturbations along the trajectory from `x`."""
        for _ in range(steps):
            x, dX = self._tangent(x, dX)
        return x, dX

    def adjoint(self, x: np.ndarray, dY: np.ndarray, steps: int = 1) -> np.ndarray:
        """Apply the transpose of the tangent map from `x`."""
        trajectory = [x]
        for _ in range(steps - 1):
            trajectory.append(self.step(trajectory[-1][None])[0])
        for x in reversed(trajectory):
            dY = self._adjoint(x, dY)
        return dY

    def torch_step(self, x: Any, steps: int = 1) -> Any:
        """Advance torch states `(..., Nx)`."""
        for _ in range(steps):
            x = self._torch(x)
        return x

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return rough states to spin up from; ValueError if the model was made without them."""
        if self._random_states is None:
            raise ValueError(
                f"the model '{self.name}' has no `random_states`, so its climate cannot be simulated. "
                "Pass random_states= to UserModel, or take states from an archive."
            )
        return check_states(self._random_states(members, rng), self.size)

    def spec(self) -> None:
        """Return None: only the code that made the callable can rebuild it."""
        return None
