"""Gaussians as the filters hold them: errors made white, covariances as rows, draws whose mean is exact."""

from collections.abc import Callable

import numpy as np

from scoreda.observations import ErrorModel

__all__ = ["draws", "square_root", "whitener"]


def whitener(error: ErrorModel) -> Callable[[np.ndarray], np.ndarray]:
    """Return the linear map of residuals `(..., Ny)` after which the errors are uncorrelated and of variance 1."""
    if error.independent:
        precision_root = 1 / error.std
        return lambda d: d * precision_root
    inverse = np.linalg.inv(np.linalg.cholesky(error.covariance)).T
    return lambda d: d @ inverse


def square_root(P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `X` and `X_inv` with `P = X^T X` and `w = x @ X_inv` for every `x = w @ X`.

    Directions of a variance below 1e-12 of the largest are left out, so there may be fewer rows than variables.
    """
    lam, U = np.linalg.eigh(P)
    kept = lam > 1e-12 * lam[-1]
    root = np.sqrt(lam[kept])
    return (U[:, kept] * root).T, U[:, kept] / root


def draws(mean: np.ndarray, X: np.ndarray, members: int, rng: np.random.Generator) -> np.ndarray:
    """Draw members `(N, Nx)` from N(mean, X^T X), moved so that their mean is exact."""
    xi = rng.normal(size=(members, len(X)))
    return mean + np.sqrt(members / (members - 1)) * (xi - xi.mean(0)) @ X
