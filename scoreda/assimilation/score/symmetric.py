"""Functions of a symmetric positive matrix, by its eigenvalues."""

from typing import NamedTuple

import numpy as np

__all__ = ["Symmetric"]


class Symmetric(NamedTuple):
    """`S = Q diag(w) Q^T` with positive eigenvalues `w` `(n,)` and orthonormal columns `Q` `(n, n)`."""

    w: np.ndarray
    Q: np.ndarray

    @classmethod
    def of(cls, S: np.ndarray, floor: float) -> "Symmetric":
        """Decompose `S`, symmetrised; eigenvalues below `floor` are raised to it."""
        w, Q = np.linalg.eigh((S + S.T) / 2)
        return cls(np.maximum(w, floor), Q)

    @property
    def matrix(self) -> np.ndarray:
        """The matrix itself."""
        return (self.Q * self.w) @ self.Q.T

    def apply(self, f: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Apply the matrix with eigenvalues `f` to a vector `(n,)` or to the rows of `X` `(N, n)`."""
        return ((X @ self.Q) * f) @ self.Q.T
