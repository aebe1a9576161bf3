r"""The Lorenz (1963) model of convection between two plates.

$$ \dot x = P (y - x), \quad \dot y = x (r - z) - y, \quad \dot z = x y - b z $$

Source: Lorenz (1963), https://doi.org/10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2, eqs. 25-27.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.models.base import check_states
from scoreda.models.lorenz63_kernels import tendencies
from scoreda.models.ode import OdeModel

if TYPE_CHECKING:
    import torch

__all__ = ["Lorenz63"]


class Lorenz63(OdeModel):
    """Lorenz63 with tangent-linear, adjoint and torch versions; the state is `(x, y, z)`.

    Args:
        prandtl: Prandtl number P.
        rayleigh: Rayleigh number over its critical value, r; 28 is chaotic.
        geometry: Geometric factor b.
        dt: Time step.
        scheme: `"rk4"` (default), `"midpoint"` or `"euler"`.

    Raises:
        ValueError: if a parameter is not finite, `dt <= 0`, or the scheme is unknown.
    """

    name = "lorenz63"

    def __init__(
        self,
        prandtl: float = 10.0,
        rayleigh: float = 28.0,
        geometry: float = 8 / 3,
        dt: float = 0.01,
        scheme: str = "rk4",
    ) -> None:
        super().__init__(3, dt, scheme)
        if not np.isfinite([prandtl, rayleigh, geometry]).all():
            raise ValueError(f"parameters must be finite, got {prandtl}, {rayleigh}, {geometry}. Use 10, 28, 8/3.")
        self.prandtl, self.rayleigh, self.geometry = float(prandtl), float(rayleigh), float(geometry)

    def tendency(self, E: np.ndarray) -> np.ndarray:
        """Return dx/dt of every member, shape `(N, 3)`."""
        return tendencies(check_states(E, self.size), self.prandtl, self.rayleigh, self.geometry)

    def tendency_tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Return the derivative of the tendency along the rows of `dX`."""
        return dX @ self._jacobian(x).T

    def tendency_adjoint(self, x: np.ndarray, dY: np.ndarray) -> np.ndarray:
        """Apply the transposed Jacobian to the rows of `dY`."""
        return dY @ self._jacobian(x)

    def _jacobian(self, x: np.ndarray) -> np.ndarray:
        P, r, b = self.prandtl, self.rayleigh, self.geometry
        return np.array([[-P, P, 0.0], [r - x[2], -1.0, -x[0]], [x[1], x[0], -b]])

    def torch_tendency(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return dx/dt of torch states `(..., 3)`."""
        import torch

        x, y, z = x.unbind(-1)
        dy = x * (self.rayleigh - z) - y
        return torch.stack([self.prandtl * (y - x), dy, x * y - self.geometry * z], dim=-1)

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return states around the middle of the attractor."""
        return np.array([0.0, 0.0, self.rayleigh - 1]) + 5 * rng.normal(size=(members, 3))

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild this model."""
        parameters = dict(prandtl=self.prandtl, rayleigh=self.rayleigh, geometry=self.geometry)
        return dict(name=self.name, **parameters, dt=self.dt, scheme=self.scheme)
