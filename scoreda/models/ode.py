"""What all models share that are an ordinary differential equation, advanced by an explicit Runge-Kutta scheme."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.models.base import check_states
from scoreda.models.integrators import advance, advance_adjoint, advance_tangent, scheme_named

if TYPE_CHECKING:
    import torch

__all__ = ["OdeModel"]


class OdeModel(ABC):
    """A model that gives its tendency and the derivatives of it, and gets its steps from here.

    Raises:
        ValueError: if `dt` is not positive, or the scheme is unknown.
    """

    name: str
    offers = frozenset({"tangent", "adjoint", "torch"})

    def __init__(self, size: int, dt: float, scheme: str) -> None:
        if not (np.isfinite(dt) and dt > 0):
            raise ValueError(f"`dt` must be positive, got {dt}.")
        self.size, self.dt, self.scheme = int(size), float(dt), scheme
        self._scheme = scheme_named(scheme)

    @abstractmethod
    def tendency(self, E: np.ndarray) -> np.ndarray:
        """Return dx/dt of every member, shape `(N, Nx)`."""

    @abstractmethod
    def tendency_tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Return the derivative of the tendency at `x` `(Nx,)` along the rows of `dX` `(M, Nx)`."""

    @abstractmethod
    def tendency_adjoint(self, x: np.ndarray, dY: np.ndarray) -> np.ndarray:
        """Apply the transposed Jacobian of the tendency at `x` `(Nx,)` to the rows of `dY` `(M, Nx)`."""

    @abstractmethod
    def torch_tendency(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return dx/dt of torch states `(..., Nx)`."""

    @abstractmethod
    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return rough states `(members, Nx)` to spin up from."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild this model."""

    def step(self, E: np.ndarray, steps: int = 1) -> np.ndarray:
        """Advance the ensemble `E` `(N, Nx)` by `steps` steps of `dt`."""
        return advance(self.tendency, check_states(E, self.size).copy(), steps, self.dt, self._scheme)

    def tangent(self, x: np.ndarray, dX: np.ndarray, steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Carry perturbations `dX` `(M, Nx)` along the trajectory from `x` `(Nx,)`; returns `(x_end, dX_end)`."""
        x, dX = np.array(x, dtype=np.float64), check_states(dX, self.size).copy()
        return advance_tangent(self._of_one, self.tendency_tangent, x, dX, steps, self.dt, self._scheme)

    def adjoint(self, x: np.ndarray, dY: np.ndarray, steps: int = 1) -> np.ndarray:
        """Apply the transpose of the tangent map from `x` `(Nx,)` to the rows of `dY` `(M, Nx)`."""
        x, dY = np.array(x, dtype=np.float64), check_states(dY, self.size).copy()
        return advance_adjoint(self._of_one, self.tendency_adjoint, x, dY, steps, self.dt, self._scheme)

    def torch_step(self, x: "torch.Tensor", steps: int = 1) -> "torch.Tensor":
        """Advance torch states `(..., Nx)`; differentiable, any device."""
        return advance(self.torch_tendency, x, steps, self.dt, self._scheme)

    def _of_one(self, x: np.ndarray) -> np.ndarray:
        return self.tendency(x[None])[0]
