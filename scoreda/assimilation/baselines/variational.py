r"""Gauss-Newton in the coordinates of a background: what 3D-Var, 4D-Var and the extended Kalman filter share.

The state is $x = x_b + w X$ with $B = X^\top X$, and the cost

$$ J(w) = \tfrac12 |w|^2 + \tfrac12 |d(w)|^2 $$

with d the whitened residuals of all observations, whose derivative is minus the rows S.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scoreda.assimilation.baselines.gaussian import whitener
from scoreda.observations import Observation

__all__ = ["Linearised", "Minimum", "linearised", "minimise"]


class Linearised(NamedTuple):
    """A background's coordinates seen through the observations, about one state.

    Attributes:
        d: Whitened residuals y - h(x), `(Ny,)`.
        S: Their derivatives with the sign changed, one row per coordinate, `(Nw, Ny)`.
        x: The state `(Nx,)` that the analysis is for.
        X: Its derivatives by the coordinates, `(Nw, Nx)`.
    """

    d: np.ndarray
    S: np.ndarray
    x: np.ndarray
    X: np.ndarray

    def cost(self, w: np.ndarray) -> float:
        """Return J(w), if this is the linearisation about w."""
        return 0.5 * float(w @ w + self.d @ self.d)

    @property
    def hessian(self) -> np.ndarray:
        """I + S S^T, `(Nw, Nw)`."""
        return np.eye(len(self.S)) + self.S @ self.S.T


class Minimum(NamedTuple):
    """The coordinates `w` of the minimum and the linearisation there; `linearisations` counts what was spent."""

    w: np.ndarray
    at: Linearised
    linearisations: int

    def anomalies(self) -> np.ndarray:
        """Return rows `X` with the analysis covariance `X^T X`: the inverse Hessian, seen in the state."""
        lam, U = np.linalg.eigh(self.at.hessian)
        return (U / np.sqrt(lam)) @ (U.T @ self.at.X)


def linearised(x: np.ndarray, X: np.ndarray, obs: Observation) -> Linearised:
    """Return the linearisation about a state `x` `(Nx,)` observed at once, with coordinates along the rows of `X`."""
    white = whitener(obs.error)
    return Linearised(white(obs.values - obs.operator(x)), white(obs.operator.tangent(x, X)), x, X)


def minimise(
    w: np.ndarray, linearise: Callable[[np.ndarray], Linearised], iterations: int, tolerance: float = 0.01
) -> Minimum:
    """Descend from `w` to the minimum of J.

    A step that does not lower J is halved, up to six times. Stops when a step is below `tolerance` posterior standard
    deviations per coordinate (root mean square), or when nothing is gained.
    """
    here, spent = linearise(w), 1
    for _ in range(iterations):
        hessian = here.hessian
        step = np.linalg.solve(hessian, here.S @ here.d - w)
        for share in 0.5 ** np.arange(7):
            there, spent = linearise(w + share * step), spent + 1
            if there.cost(w + share * step) <= here.cost(w):
                break
        else:
            break
        w, here = w + share * step, there
        if step @ hessian @ step < tolerance**2 * len(w):
            break
    return Minimum(w, here, spent)
