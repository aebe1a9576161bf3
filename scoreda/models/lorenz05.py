r"""Model III of Lorenz (2005): long waves with short ones on top of them, on one ring.

$$ \dot Z = [X, X]_K + b^2\, [Y, Y]_1 + c\, [Y, X]_1 - X - bY + F $$
$$ X_n = {\sum_i}' (\alpha - \beta |i|)\, Z_{n+i}, \quad Y = Z - X $$
$$ [Y, V]_{1,n} = Y_{n-1} V_{n+1} - Y_{n-2} V_{n-1} $$
$$ [X, X]_{K,n} = -W_{n-2K} W_{n-K} + \tfrac1K {\sum_j}' W_{n-K+j} X_{n+K+j}, \quad W_n = \tfrac1K {\sum_i}' X_{n-i} $$

Primed sums run over a symmetric range and halve their first and last terms where the number of terms asks for it.

Source: Lorenz (2005), https://doi.org/10.1175/JAS3430.1, eqs. 8-10 and 13-15.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.models.base import check_states
from scoreda.models.lorenz05_kernels import tendencies
from scoreda.models.ode import OdeModel
from scoreda.models.ring import shifted

if TYPE_CHECKING:
    import torch

__all__ = ["Lorenz05"]


def box_weights(K: int) -> np.ndarray:
    """Return the weights of the running mean over `K` points, `-r .. r`; the ends are halved if `K` is even."""
    weights = np.full(2 * (K // 2) + 1, 1 / K)
    weights[[0, -1]] *= 0.5 if K % 2 == 0 else 1.0
    return weights


def split_weights(radius: int) -> np.ndarray:
    r"""Return the weights that take `Z` to its long waves `X`, `-I .. I`: quadratics are left as they are.

    Source: Lorenz (2005), eq. 14.
    """
    i = np.arange(-radius, radius + 1)
    alpha = (3 * radius**2 + 3) / (2 * radius**3 + 4 * radius)
    beta = (2 * radius**2 + 1) / (radius**4 + 2 * radius**2)
    weights = alpha - beta * abs(i)
    weights[[0, -1]] *= 0.5
    return weights


class Lorenz05(OdeModel):
    """Model III of Lorenz (2005) with tangent-linear, adjoint and torch versions.

    Args:
        size: Number of variables; more than twice `width` and `split`.
        forcing: Forcing F.
        width: Number of points K over which the long waves are smoothed.
        split: Radius I of the filter that splits long waves from short ones.
        scale_ratio: How much faster and smaller the short waves are, b.
        coupling: Coupling of the short waves to the long ones, c.
        dt: Time step; RK4 with the defaults is stable up to about 0.05 / 12.
        scheme: `"rk4"` (default), `"midpoint"` or `"euler"`.

    Raises:
        ValueError: if the ring is too short, a parameter does not make sense, or the scheme is unknown.
    """

    name = "lorenz05"

    def __init__(
        self,
        size: int = 960,
        forcing: float = 15.0,
        width: int = 32,
        split: int = 12,
        scale_ratio: float = 10.0,
        coupling: float = 2.5,
        dt: float = 0.0025,
        scheme: str = "rk4",
    ) -> None:
        super().__init__(size, dt, scheme)
        if min(width, split) < 1 or size < 4 or size <= 2 * max(width, split):
            raise ValueError(
                f"`size` must exceed twice `width` and `split`, both at least 1, got {size}, {width} and {split}."
            )
        if not np.isfinite([forcing, scale_ratio, coupling]).all():
            raise ValueError(f"parameters must be finite, got {forcing}, {scale_ratio}, {coupling}. Use 15, 10, 2.5.")
        self.forcing, self.width, self.split = float(forcing), int(width), int(split)
        self.scale_ratio, self.coupling = float(scale_ratio), float(coupling)
        self._box, self._splitter = box_weights(self.width), split_weights(self.split)
        self._box_spectrum, self._split_spectrum = self._spectrum(self._box), self._spectrum(self._splitter)

    def _spectrum(self, weights: np.ndarray) -> np.ndarray:
        """Return the real spectrum of symmetric weights on the ring."""
        ring = np.zeros(self.size)
        ring[: len(weights)] = weights
        return np.fft.rfft(np.roll(ring, -(len(weights) // 2))).real

    def tendency(self, E: np.ndarray) -> np.ndarray:
        """Return dx/dt of every member, shape `(N, Nx)`."""
        E = check_states(E, self.size)
        return tendencies(E, self._box, self._splitter, self.width, self.scale_ratio, self.coupling, self.forcing)

    def tendency_tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Return the derivative of the tendency along the rows of `dX`."""
        return self._bilinear(x, dX) + self._bilinear(dX, x) + self._damping(dX)

    def tendency_adjoint(self, x: np.ndarray, dY: np.ndarray) -> np.ndarray:
        """Apply the transposed Jacobian to the rows of `dY`."""
        K, b, c = self.width, self.scale_ratio, self.coupling
        X, Y, W = self._waves(x)
        smooth = self._smooth(dY)
        back = shifted(smooth * shifted(X, K), K)
        back = back - shifted(dY * shifted(W, -K), 2 * K) - shifted(dY * shifted(W, -2 * K), K)
        long = self._smooth(back) + shifted(smooth * shifted(W, -K), -K) - dY
        long = long + c * (shifted(dY * shifted(Y, -1), -1) - shifted(dY * shifted(Y, -2), 1))
        V = b**2 * Y + c * X
        short = shifted(dY * shifted(V, 1), 1) - shifted(dY * shifted(V, -1), 2) - b * dY
        short = short + b**2 * (shifted(dY * shifted(Y, -1), -1) - shifted(dY * shifted(Y, -2), 1))
        return self._split(long - short) + short

    def torch_tendency(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return dx/dt of torch states `(..., Nx)`."""
        return self._bilinear(x, x) + self._damping(x) + self.forcing

    def _bilinear(self, p: Any, q: Any) -> Any:
        """Return the quadratic part of the tendency with its first factors from `p`, its second from `q`."""
        K, b, c = self.width, self.scale_ratio, self.coupling
        (_, Y, W), (X_q, Y_q, W_q) = self._waves(p), self._waves(q)
        V = b**2 * Y_q + c * X_q
        long = self._smooth(shifted(W, -K) * shifted(X_q, K)) - shifted(W, -2 * K) * shifted(W_q, -K)
        return long + shifted(Y, -1) * shifted(V, 1) - shifted(Y, -2) * shifted(V, -1)

    def _damping(self, z: Any) -> Any:
        X, Y, _ = self._waves(z)
        return -X - self.scale_ratio * Y

    def _waves(self, z: Any) -> tuple[Any, Any, Any]:
        """Return the long waves X, the short waves Y and the running mean W of X."""
        X = self._split(z)
        return X, z - X, self._smooth(X)

    def _smooth(self, x: Any) -> Any:
        return self._filtered(x, self._box_spectrum)

    def _split(self, z: Any) -> Any:
        return self._filtered(z, self._split_spectrum)

    def _filtered(self, x: Any, spectrum: np.ndarray) -> Any:
        """Apply a symmetric filter, which is its own transpose, to states `(..., Nx)` of either library."""
        if isinstance(x, np.ndarray):
            return np.fft.irfft(np.fft.rfft(x) * spectrum, self.size)
        import torch

        return torch.fft.irfft(torch.fft.rfft(x) * x.new_tensor(spectrum), self.size)

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return states with long waves of random phase, near the middle of the attractor."""
        phase = rng.uniform(0, 2 * np.pi, (members, 1))
        wave = 2 * np.pi * 4 * np.arange(self.size) / self.size
        return 3 + 3 * np.sin(wave + phase) + 0.1 * rng.normal(size=(members, self.size))

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild this model."""
        shape = dict(size=self.size, forcing=self.forcing, width=self.width, split=self.split)
        ratios = dict(scale_ratio=self.scale_ratio, coupling=self.coupling)
        return dict(name=self.name, **shape, **ratios, dt=self.dt, scheme=self.scheme)
