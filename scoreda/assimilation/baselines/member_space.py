r"""Updates in the space of the members: $\bar x^a = \bar x + w A$, $A^a = T A$.

The same weights update everything that the members carry: the state at another time, or other variables.
"""

from typing import NamedTuple

import numpy as np

from scoreda.assimilation.baselines.ensembles import split
from scoreda.assimilation.baselines.gaussian import whitener
from scoreda.assimilation.baselines.kernels import inverse_root
from scoreda.observations import Observation

__all__ = ["FiniteSizePrior", "GaussianPrior", "Hessian", "Weights", "whitened_residuals"]


class Weights(NamedTuple):
    """The shift `w` `(N,)` and the transform `T` `(N, N)` of the anomalies."""

    w: np.ndarray
    T: np.ndarray

    def rotated(self, Q: np.ndarray) -> "Weights":
        """Return the same with the new anomalies mixed by `Q`, a `rotation`."""
        return Weights(self.w, Q @ self.T)

    def __call__(self, E: np.ndarray) -> np.ndarray:
        """Update an ensemble `(N, n)`."""
        mean, A = split(E)
        return mean + (self.w + self.T) @ A


class Hessian(NamedTuple):
    """C = zeta I + Y Y^T, with Y the whitened observed anomalies `(N, Ny)`, and the symmetric C^-1/2."""

    C: np.ndarray
    root: np.ndarray

    @classmethod
    def of(cls, Y: np.ndarray, zeta: float) -> "Hessian":
        """Take the root; `zeta` is the prior's precision, N - 1 if the ensemble is taken at its word.

        Beside a Y so large that it is lost in rounding, as much of it is put in its place as keeps C positive definite.
        """
        seen = Y @ Y.T
        zeta = max(zeta, len(Y) * np.finfo(float).eps * np.trace(seen))
        C = zeta * np.eye(len(Y)) + seen
        return cls(C, inverse_root(C, zeta))

    def solve(self, g: np.ndarray) -> np.ndarray:
        """Return C^-1 g."""
        return self.root @ (self.root @ g)

    def transform(self) -> np.ndarray:
        """Return the transform of the anomalies, sqrt(N - 1) C^-1/2."""
        return np.sqrt(len(self.C) - 1) * self.root

    def inverse_transform(self) -> np.ndarray:
        """Return its inverse."""
        return self.C @ self.root / np.sqrt(len(self.C) - 1)


class GaussianPrior(NamedTuple):
    """The weights' prior if the ensemble is taken at its word: N(0, I / zeta), zeta = N - 1."""

    zeta: float

    def cost(self, w: np.ndarray) -> float:
        """Return twice minus the log density, up to a constant."""
        return self.zeta * float(w @ w)

    def precision(self, w: np.ndarray) -> float:
        """Return the precision of the Gaussian that is nowhere above the density, up to a factor, and meets it at w."""
        return self.zeta


class FiniteSizePrior(NamedTuple):
    """The weights' prior of an ensemble that is a sample, cost `c ln(epsilon + |w|^2)`; see `enkf_n`."""

    epsilon: float
    c: float

    @classmethod
    def of(cls, lam: np.ndarray, certainty: float) -> "FiniteSizePrior":
        """Return it for the eigenvalues `lam` `(N,)` of Y Y^T and a multiple of N draws.

        Corrected by the share of the prior in the analysis (1: nothing was observed), by Bocquet et al. (2015), eq. 36.
        """
        N = len(lam)
        epsilon, c = 1 + 1 / N, float(N + 1)
        share = float(np.mean((N - 1) / (lam + N - 1)))
        correction = (epsilon * (N - 1) / c) ** (share / 2)
        return cls(certainty * epsilon / correction, certainty * c * correction)

    def cost(self, w: np.ndarray) -> float:
        """Return twice minus the log density, up to a constant."""
        return self.c * float(np.log(self.epsilon + w @ w))

    def precision(self, w: np.ndarray) -> float:
        """Return the precision of the Gaussian that is nowhere above the density, up to a factor, and meets it at w."""
        return self.c / (self.epsilon + float(w @ w))


def whitened_residuals(E: np.ndarray, obs: Observation) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over members of y - h(x) `(Ny,)` and the anomalies of h(x) `(N, Ny)`, errors made white."""
    mean, anomalies = split(whitener(obs.error)(obs.values - obs.operator(E)))
    return mean, -anomalies
