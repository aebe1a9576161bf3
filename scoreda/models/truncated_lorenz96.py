r"""Lorenz96 with a polynomial closure for the fast variables that it leaves out.

$$ \dot x_i = (x_{i+1} - x_{i-2})\, x_{i-1} - x_i + F - \sum_p b_p\, x_i^p $$

Source: Wilks (2005), https://doi.org/10.1256/qj.04.03, eqs. 3 and 4; the coefficients are those of his fit at F = 20.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial import polynomial

from scoreda.models.base import check_states
from scoreda.models.lorenz96_kernels import tendencies
from scoreda.models.ode import OdeModel
from scoreda.models.ring import convection, convection_adjoint, convection_tangent

if TYPE_CHECKING:
    import torch

__all__ = ["WILKS_CLOSURE", "TruncatedLorenz96"]

WILKS_CLOSURE = (0.262, 1.45, -0.0121, -0.00713, 0.000296)


class TruncatedLorenz96(OdeModel):
    """The slow variables of `TwoScaleLorenz96`, with tangent-linear, adjoint and torch versions.

    Args:
        size: Number of slow variables K, at least 4.
        forcing: Forcing F.
        closure: Coefficients `b_0, b_1, ...` of the polynomial that stands for the fast variables; `(0,)` leaves
            them out altogether.
        dt: Time step; far longer than the fast variables would allow.
        scheme: `"rk4"` (default), `"midpoint"` or `"euler"`.

    Raises:
        ValueError: if `size < 4`, `dt <= 0`, a number is not finite, or the scheme is unknown.
    """

    name = "truncated_lorenz96"

    def __init__(
        self,
        size: int = 8,
        forcing: float = 20.0,
        closure: Sequence[float] = WILKS_CLOSURE,
        dt: float = 0.05,
        scheme: str = "rk4",
    ) -> None:
        super().__init__(size, dt, scheme)
        if size < 4:
            raise ValueError(f"`size` must be at least 4, got {size}. The tendency spans four neighbours.")
        if not (len(closure) and np.isfinite([forcing, *closure]).all()):
            raise ValueError(f"`forcing` and `closure` must be finite, got {forcing} and {closure}.")
        self.forcing, self.closure = float(forcing), tuple(map(float, closure))
        self._slope = polynomial.polyder(self.closure)

    def tendency(self, E: np.ndarray) -> np.ndarray:
        """Return dx/dt of every member, shape `(N, Nx)`."""
        E = check_states(E, self.size)
        return tendencies(E, self.forcing) - polynomial.polyval(E, self.closure)

    def tendency_tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Return the derivative of the tendency along the rows of `dX`."""
        return convection_tangent(x, dX) - self._damping(x) * dX

    def tendency_adjoint(self, x: np.ndarray, dY: np.ndarray) -> np.ndarray:
        """Apply the transposed Jacobian to the rows of `dY`."""
        return convection_adjoint(x, dY) - self._damping(x) * dY

    def _damping(self, x: np.ndarray) -> np.ndarray:
        return 1 + polynomial.polyval(x, self._slope)

    def torch_tendency(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return dx/dt of torch states `(..., Nx)`."""
        return convection(x) - x + self.forcing - sum(b * x**p for p, b in enumerate(self.closure))

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return states near the middle of the attractor."""
        return rng.normal(2.0, 2.0, (members, self.size))

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild this model."""
        settings = dict(size=self.size, forcing=self.forcing, closure=list(self.closure))
        return dict(name=self.name, **settings, dt=self.dt, scheme=self.scheme)
