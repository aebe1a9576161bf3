r"""The two-scale model of Lorenz (1996): slow variables `X`, each coupled to `J` fast variables `Y` on a longer ring.

$$ \dot X_k = (X_{k+1} - X_{k-2})\, X_{k-1} - X_k + F - \tfrac{hc}{b} \sum_{j \in k} Y_j $$
$$ \dot Y_j = cb\, (Y_{j-1} - Y_{j+2})\, Y_{j+1} - c\, Y_j + \tfrac{hc}{b} X_{k(j)} $$

Source: Wilks (2005), https://doi.org/10.1256/qj.04.03, eqs. 1 and 2, whose K, J, h, b, c and F are the defaults.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.models.base import check_states
from scoreda.models.ode import OdeModel
from scoreda.models.ring import convection, convection_adjoint, convection_tangent
from scoreda.models.two_scale_lorenz96_kernels import tendencies

if TYPE_CHECKING:
    import torch

__all__ = ["TwoScaleLorenz96"]


class TwoScaleLorenz96(OdeModel):
    """Two-scale Lorenz96 with tangent-linear, adjoint and torch versions.

    The state is `(X_1 .. X_K, Y_1 .. Y_{KJ})`. `TruncatedLorenz96` carries the first K of them, `resolved`.

    Args:
        slow: Number K of slow variables, at least 4.
        fast: Number J of fast variables to each of them.
        forcing: Forcing F of the slow variables.
        coupling: Coupling h.
        scale_ratio: How much smaller the fast variables are, b.
        time_ratio: How much faster they are, c.
        dt: Time step; RK4 with the defaults needs 0.005 or less.
        scheme: `"rk4"` (default), `"midpoint"` or `"euler"`.

    Raises:
        ValueError: if there are too few variables, a parameter does not make sense, or the scheme is unknown.
    """

    name = "two_scale_lorenz96"
    offers = OdeModel.offers | {"truncation", "distance"}

    def __init__(
        self,
        slow: int = 8,
        fast: int = 32,
        forcing: float = 20.0,
        coupling: float = 1.0,
        scale_ratio: float = 10.0,
        time_ratio: float = 10.0,
        dt: float = 0.005,
        scheme: str = "rk4",
    ) -> None:
        super().__init__(slow * (1 + fast), dt, scheme)
        if slow < 4 or fast < 1:
            raise ValueError(f"need `slow` >= 4 and `fast` >= 1, got {slow} and {fast}.")
        if not np.isfinite([forcing, coupling]).all() or not min(scale_ratio, time_ratio) > 0:
            raise ValueError(
                f"`forcing` and `coupling` must be finite and the ratios positive, got {forcing}, {coupling}, "
                f"{scale_ratio}, {time_ratio}. Wilks (2005) has 20, 1, 10, 10."
            )
        self.resolved, self.fast = int(slow), int(fast)
        self.forcing, self.coupling = float(forcing), float(coupling)
        self.scale_ratio, self.time_ratio = float(scale_ratio), float(time_ratio)
        self._exchange = self.coupling * self.time_ratio / self.scale_ratio
        self._carry = self.time_ratio * self.scale_ratio

    def tendency(self, E: np.ndarray) -> np.ndarray:
        """Return dx/dt of every member, shape `(N, Nx)`."""
        E = check_states(E, self.size)
        return tendencies(E, self.resolved, self.forcing, self._exchange, self._carry, self.time_ratio)

    def tendency_tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Return the derivative of the tendency along the rows of `dX`."""
        (X, Y), (slow, fast) = self._parts(x), self._parts(dX)
        slow_out, fast_out = self._linear(slow, fast)
        out = convection_tangent(X, slow) + slow_out, self._carry * convection_tangent(Y, fast, -1) + fast_out
        return np.concatenate(out, axis=-1)

    def tendency_adjoint(self, x: np.ndarray, dY: np.ndarray) -> np.ndarray:
        """Apply the transposed Jacobian to the rows of `dY`."""
        (X, Y), (slow, fast) = self._parts(x), self._parts(dY)
        # What the slow variables lose to the fast ones is what these gain: the exchange is antisymmetric.
        slow_out, fast_out = self._linear(slow, fast, -1)
        out = convection_adjoint(X, slow) + slow_out, self._carry * convection_adjoint(Y, fast, -1) + fast_out
        return np.concatenate(out, axis=-1)

    def torch_tendency(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return dx/dt of torch states `(..., Nx)`."""
        import torch

        X, Y = self._parts(x)
        slow, fast = self._linear(X, Y)
        return torch.cat([convection(X) + slow + self.forcing, self._carry * convection(Y, -1) + fast], dim=-1)

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return how far the variables `a` `(n,)` are from `b` `(m,)`, shape `(n, m)`, in intervals of the slow ring.

        Variables are given by their numbers. The fast ones stand evenly about the slow one that they are coupled to.
        """
        apart = np.abs(self._places(a)[:, None] - self._places(b))
        return np.minimum(apart, self.resolved - apart)

    def _places(self, numbers: np.ndarray) -> np.ndarray:
        if not np.isin(numbers, np.arange(self.size)).all():
            raise ValueError(f"between the {self.size} variables of {self.name} there are no places, got {numbers}.")
        return np.where(numbers < self.resolved, numbers, (numbers - self.resolved + 0.5) / self.fast - 0.5)

    def _parts(self, x: Any) -> tuple[Any, Any]:
        return x[..., : self.resolved], x[..., self.resolved :]

    def _linear(self, X: Any, Y: Any, sign: int = 1) -> tuple[Any, Any]:
        """Return damping and exchange of both scales; `sign = -1` transposes them."""
        exchange, groups = sign * self._exchange, Y.reshape(*Y.shape[:-1], self.resolved, self.fast)
        fast = (exchange * X[..., None] - self.time_ratio * groups).reshape(Y.shape)
        return -X - exchange * groups.sum(-1), fast

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return states near the middle of the attractor."""
        X = rng.normal(2.0, 2.0, (members, self.resolved))
        Y = rng.normal(0.0, 1 / self.scale_ratio, (members, self.resolved * self.fast))
        return np.concatenate([X, Y], axis=-1)

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild this model."""
        parameters = dict(slow=self.resolved, fast=self.fast, forcing=self.forcing, coupling=self.coupling)
        ratios = dict(scale_ratio=self.scale_ratio, time_ratio=self.time_ratio)
        return dict(name=self.name, **parameters, **ratios, dt=self.dt, scheme=self.scheme)
