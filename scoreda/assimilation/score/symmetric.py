"""Functions of a symmetric positive matrix, by its eigenvalues, in NumPy or torch."""

from typing import NamedTuple

import numpy as np

from scoreda.observations.arrays import Array, library

__all__ = ["Symmetric"]


class Symmetric(NamedTuple):
    """`S = Q diag(w) Q^T` with positive eigenvalues `w` `(n,)` and orthonormal columns `Q` `(n, n)`."""

    w: Array
    Q: Array

    @classmethod
    def of(cls, S: Array, floor: float) -> "Symmetric":
        """Decompose `S`, symmetrised; eigenvalues below `floor` are raised to it.

        Raises:
            numpy.linalg.LinAlgError: in both libraries, if no eigenvalues are found, as where `S` is not finite.
        """
        linalg = library(S).linalg
        try:
            w, Q = linalg.eigh((S + S.T) / 2)
        except linalg.LinAlgError as error:  # torch's own is a RuntimeError
            raise np.linalg.LinAlgError(str(error)) from error
        return cls(w.clip(floor), Q)

    @property
    def matrix(self) -> Array:
        """The matrix itself."""
        return (self.Q * self.w) @ self.Q.T

    def apply(self, f: Array, X: Array) -> Array:
        """Apply the matrix with eigenvalues `f` to a vector `(n,)` or to the rows of `X` `(N, n)`."""
        return ((X @ self.Q) * f) @ self.Q.T
