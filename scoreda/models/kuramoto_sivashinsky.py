r"""The Kuramoto-Sivashinsky equation on a periodic domain, pseudo-spectral in space, ETDRK4 in time.

$$ u_t = -u u_x - u_{xx} - u_{xxxx} $$

Source: Kassam & Trefethen (2005), https://doi.org/10.1137/S1064827502410633; the setting with 128 points, a domain of
32 pi and steps of 0.5 is that of Bocquet & Farchi (2019), https://doi.org/10.5194/npg-26-143-2019.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scoreda.models.base import check_states

if TYPE_CHECKING:
    import torch

__all__ = ["KuramotoSivashinsky"]

CONTOUR = 32  # points on the circle around each eigenvalue
Term = Callable[[Any], Any]


class Coefficients(NamedTuple):
    """ETDRK4 by wavenumber, for one step: whole and half propagators, stage weight and the three final weights."""

    whole: Any
    half: Any
    stage: Any
    first: Any
    middle: Any
    last: Any


def etdrk4(L: np.ndarray, dt: float) -> Coefficients:
    """Return the coefficients for eigenvalues `L`, as means over circles: the formulas cancel near `L = 0`.

    Source: Kassam & Trefethen (2005), eqs. 2.3-2.6.
    """
    circle = np.exp(2j * np.pi * (np.arange(CONTOUR) + 0.5) / CONTOUR)
    z = dt * L[:, None] + circle
    means = (
        (np.exp(z / 2) - 1) / z,
        (-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3,
        (2 + z + np.exp(z) * (z - 2)) / z**3,
        (-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3,
    )
    return Coefficients(np.exp(dt * L), np.exp(dt * L / 2), *(dt * mean.mean(axis=1).real for mean in means))


class KuramotoSivashinsky:
    """Kuramoto-Sivashinsky with tangent-linear, adjoint and torch versions; the mean of the state is conserved.

    Args:
        size: Number of grid points, even.
        length: Length of the domain; 32 pi by default.
        dt: Time step.

    Raises:
        ValueError: if `size` is odd or below 4, or `length` or `dt` is not positive.
    """

    name = "kuramoto_sivashinsky"
    offers = frozenset({"tangent", "adjoint", "torch"})

    def __init__(self, size: int = 128, length: float = 32 * np.pi, dt: float = 0.5) -> None:
        if size < 4 or size % 2:
            raise ValueError(f"`size` must be even and at least 4, got {size}.")
        if not (np.isfinite([length, dt]).all() and min(length, dt) > 0):
            raise ValueError(f"`length` and `dt` must be positive, got {length} and {dt}. Use 32 pi and 0.5.")
        self.size, self.length, self.dt = int(size), float(length), float(dt)
        k = 2 * np.pi * np.arange(size // 2 + 1) / length
        self._coefficients = etdrk4(k**2 - k**4, dt)
        # The shortest wave has no derivative on the grid: its sine vanishes at every point.
        self._derivative = 1j * np.append(k[:-1], 0.0)

    def step(self, E: np.ndarray, steps: int = 1) -> np.ndarray:
        """Advance the ensemble `E` `(N, Nx)` by `steps` steps of `dt`."""
        E = check_states(E, self.size).copy()
        for _ in range(steps):
            E = self._step(E)[0]
        return E

    def tangent(self, x: np.ndarray, dX: np.ndarray, steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Carry perturbations `dX` `(M, Nx)` along the trajectory from `x` `(Nx,)`; returns `(x_end, dX_end)`."""
        x, dX = np.array(x, dtype=np.float64), check_states(dX, self.size).copy()
        for _ in range(steps):
            x, stages = self._step(x)
            dX = self._to_grid(self._stages(self._to_waves(dX), [self._linearised(u) for u in stages]))
        return x, dX

    def adjoint(self, x: np.ndarray, dY: np.ndarray, steps: int = 1) -> np.ndarray:
        """Apply the transpose of the tangent map from `x` `(Nx,)` to the rows of `dY` `(M, Nx)`."""
        x, trajectory = np.array(x, dtype=np.float64), []
        for _ in range(steps):
            x, stages = self._step(x)
            trajectory.append(stages)
        v = self._to_waves(check_states(dY, self.size))
        for stages in reversed(trajectory):
            v = self._stages_adjoint(v, stages)
        return self._to_grid(v)

    def torch_step(self, x: "torch.Tensor", steps: int = 1) -> "torch.Tensor":
        """Advance torch states `(..., Nx)`; differentiable, any device."""
        import torch

        coefficients = Coefficients(*map(x.new_tensor, self._coefficients))
        derivative = torch.complex(torch.zeros_like(coefficients.whole), x.new_tensor(self._derivative.imag))

        def term(v: torch.Tensor) -> torch.Tensor:
            return -0.5 * derivative * torch.fft.rfft(torch.fft.irfft(v, self.size) ** 2)

        for _ in range(steps):
            x = torch.fft.irfft(combine(torch.fft.rfft(x), [term] * 4, coefficients), self.size)
        return x

    def _to_waves(self, u: np.ndarray) -> np.ndarray:
        return np.fft.rfft(u)

    def _to_grid(self, v: np.ndarray) -> np.ndarray:
        return np.fft.irfft(v, self.size)

    def _step(self, u: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the state after one step, and the states `(..., Nx)` of its four stages."""
        visited: list[np.ndarray] = []

        def term(v: np.ndarray) -> np.ndarray:
            visited.append(self._to_grid(v))
            return -0.5 * self._derivative * self._to_waves(visited[-1] ** 2)

        return self._to_grid(self._stages(self._to_waves(u), [term] * 4)), visited

    def _stages(self, v: np.ndarray, terms: Sequence[Term]) -> np.ndarray:
        return combine(v, terms, self._coefficients)

    def _linearised(self, u: np.ndarray) -> Term:
        """Return the derivative at `u` of the nonlinear term, between wave amplitudes."""
        return lambda v: -self._derivative * self._to_waves(u * self._to_grid(v))

    def _stages_adjoint(self, v: np.ndarray, stages: Sequence[np.ndarray]) -> np.ndarray:
        """Transpose one linearised step; every filter is real and even, so its own transpose."""
        whole, half, stage, first, middle, last = self._coefficients

        def transposed(u: np.ndarray, w: np.ndarray) -> np.ndarray:
            return self._to_waves(u * self._to_grid(self._derivative * w))

        c = transposed(stages[3], last * v)
        b = transposed(stages[2], 2 * (middle * v + stage * c))
        a = half * c + transposed(stages[1], 2 * middle * v + stage * b)
        return whole * v + half * (a + b) + transposed(stages[0], first * v + stage * (a - c))

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return noise without a mean; about 100 time units lead to the climate."""
        noise = rng.normal(size=(members, self.size))
        return noise - noise.mean(axis=1, keepdims=True)

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild this model."""
        return dict(name=self.name, size=self.size, length=self.length, dt=self.dt)


def combine(v: Any, terms: Sequence[Term], coefficients: Coefficients) -> Any:
    """Take wave amplitudes `v` one step on; `terms` are the nonlinear term at each of the four stages."""
    whole, half, stage, first, middle, last = coefficients
    at_start = terms[0](v)
    a = half * v + stage * at_start
    at_a = terms[1](a)
    at_b = terms[2](half * v + stage * at_a)
    at_c = terms[3](half * a + stage * (2 * at_b - at_start))
    return whole * v + first * at_start + 2 * middle * (at_a + at_b) + last * at_c
