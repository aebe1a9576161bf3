"""Functions of a symmetric positive matrix, by its eigenvalues, in NumPy or torch."""

from typing import NamedTuple

from scoreda.observations.arrays import Array, library

__all__ = ["Symmetric"]


class Symmetric(NamedTuple):
    """`S = Q diag(w) Q^T` with positive eigenvalues `w` `(n,)` and orthonormal columns `Q` `(n, n)`."""

    w: Array
    Q: Array

    @classmethod
    def of(cls, S: Array, floor: float) -> "Symmetric":
        """Decompose `S`, symmetrised; eigenvalues below `floor` are raised to it."""
        w, Q = library(S).linalg.eigh((S + S.T) / 2)
        return cls(w.clip(floor), Q)

    @property
    def matrix(self) -> Array:
        """The matrix itself."""
        return (self.Q * self.w) @ self.Q.T

    def apply(self, f: Array, X: Array) -> Array:
        """Apply the matrix with eigenvalues `f` to a vector `(n,)` or to the rows of `X` `(N, n)`."""
        return ((X @ self.Q) * f) @ self.Q.T
