r"""The Lorenz (1996) model on a ring.

$$ \dot x_i = (x_{i+1} - x_{i-2})\, x_{i-1} - x_i + F, \quad i = 1 \dots N_x \ \text{(periodic)} $$

Source: Lorenz (1996), Predictability: a problem partly solved. One model time unit is about five days.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.models import lorenz96_kernels as kernels
from scoreda.models import lorenz96_tangent_kernels as tangent_kernels
from scoreda.models.base import check_states
from scoreda.models.integrators import scheme_named

if TYPE_CHECKING:
    import torch

__all__ = ["Lorenz96"]


class Lorenz96:
    """Lorenz96 with tangent-linear, adjoint and torch versions.

    Args:
        size: Number of variables, at least 4.
        forcing: Forcing F; 8 is chaotic (leading Lyapunov exponent about 1.7).
        dt: Time step, model time units.
        scheme: `"rk4"` (default), `"midpoint"` or `"euler"`.

    Raises:
        ValueError: if `size < 4`, `dt <= 0`, `forcing` is not finite, or the scheme is unknown.
    """

    name = "lorenz96"
    offers = frozenset({"tangent", "adjoint", "torch"})

    def __init__(self, size: int = 40, forcing: float = 8.0, dt: float = 0.05, scheme: str = "rk4") -> None:
        if size < 4:
            raise ValueError(f"`size` must be at least 4, got {size}. The tendency spans four neighbours.")
        if not np.isfinite(forcing):
            raise ValueError(f"`forcing` must be finite, got {forcing}. The chaotic standard is 8.")
        if not (np.isfinite(dt) and dt > 0):
            raise ValueError(f"`dt` must be positive, got {dt}. The usual step is 0.05.")
        self.size, self.forcing, self.dt, self.scheme = int(size), float(forcing), float(dt), scheme
        self._nodes, self._weights, _ = scheme_named(scheme)

    def tendency(self, E: np.ndarray) -> np.ndarray:
        """Return dx/dt of every member, shape `(N, Nx)`."""
        return kernels.tendencies(check_states(E, self.size), self.forcing)

    def step(self, E: np.ndarray, steps: int = 1) -> np.ndarray:
        """Advance the ensemble `E` `(N, Nx)` by `steps` steps of `dt`."""
        E = check_states(E, self.size)
        # Threads pay from about a millisecond of work on. In smaller doses those that wait take the processor from
        # whatever runs between two calls.
        advance = kernels.advance_parallel if E.size * steps > 1_000_000 else kernels.advance
        at_once = kernels.steps_at_once(self.size, steps)
        for _ in range(0, steps, at_once):
            out = np.empty_like(E)
            advance(E, out, at_once, self.dt, self.forcing, self._nodes, self._weights)
            E = out
        return E if steps else E.copy()

    def tangent(self, x: np.ndarray, dX: np.ndarray, steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Carry perturbations `dX` `(M, Nx)` along the trajectory from `x` `(Nx,)`; returns `(x_end, dX_end)`."""
        along = (steps, self.dt, self.forcing, self._nodes, self._weights)
        return tangent_kernels.tangent(np.array(x, dtype=np.float64), check_states(dX, self.size), *along)

    def adjoint(self, x: np.ndarray, dY: np.ndarray, steps: int = 1) -> np.ndarray:
        """Apply the transpose of the tangent map from `x` `(Nx,)` to the rows of `dY` `(M, Nx)`."""
        along = (steps, self.dt, self.forcing, self._nodes, self._weights)
        return tangent_kernels.adjoint(np.array(x, dtype=np.float64), check_states(dY, self.size), *along)

    def torch_step(self, x: "torch.Tensor", steps: int = 1) -> "torch.Tensor":
        """Advance torch states `(..., Nx)`; differentiable, any device."""
        for _ in range(steps):
            k, increment = None, 0.0
            for c, b in zip(self._nodes.tolist(), self._weights.tolist(), strict=True):
                k = self._torch_tendency(x if k is None else x + c * self.dt * k)
                increment = increment + b * k
            x = x + self.dt * increment
        return x

    def _torch_tendency(self, x: "torch.Tensor") -> "torch.Tensor":
        return (x.roll(-1, -1) - x.roll(2, -1)) * x.roll(1, -1) - x + self.forcing

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return states around the unstable fixed point x = F; about 20 time units lead to the climate."""
        return self.forcing + rng.normal(size=(members, self.size))

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild this model."""
        return dict(name=self.name, size=self.size, forcing=self.forcing, dt=self.dt, scheme=self.scheme)
