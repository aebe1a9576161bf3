"""Observation-error models: how errors are drawn, their variances, and their density.

Densities take residuals `y - H(x)` of shape `(..., Ny)`, NumPy arrays or torch tensors.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from scoreda.errors import ScoredaError, suggest
from scoreda.models.base import cholesky
from scoreda.observations.arrays import library, like

__all__ = [
    "ERRORS",
    "CorrelatedGaussianError",
    "ErrorModel",
    "GaussianError",
    "LaplaceError",
    "StudentTError",
    "error_from_spec",
]


class ErrorModel(Protocol):
    """What assimilation methods ask of an error model.

    `variance` `(Ny,)` and `covariance` `(Ny, Ny)` are those of the true distribution, whatever its shape, so methods
    that take errors for Gaussian read them and nothing else. `independent` tells whether `log_density` holds one
    density per observation; if not, only its sum over the observations has a meaning.
    """

    name: str
    size: int
    independent: bool
    variance: np.ndarray

    @property
    def std(self) -> np.ndarray:
        """Standard deviations `(Ny,)`."""
        ...

    @property
    def covariance(self) -> np.ndarray:
        """Covariance R, shape `(Ny, Ny)`."""
        ...

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one error vector `(Ny,)`."""
        ...

    def log_density(self, residual: Any) -> Any:
        """Return log densities `(..., Ny)`, whose sum over the last axis is the log-likelihood."""
        ...

    def log_density_slope(self, residual: Any) -> Any:
        """Return the derivative `(..., Ny)` of that sum by the residual."""
        ...

    def restrict(self, keep: np.ndarray) -> "ErrorModel":
        """Keep some of the observations."""
        ...

    def spec(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        ...


class IndependentError(ABC):
    """Independent errors that differ in variance only; a kind of error is its distribution at variance 1.

    Args:
        variance: Error variance, a scalar or one per observation `(Ny,)`; not a standard deviation.
        size: Number of observations Ny.

    Raises:
        ValueError: if a variance is not positive and finite, or the shape does not fit.
    """

    name: str
    independent = True

    def __init__(self, variance: float | Sequence[float] | np.ndarray, size: int) -> None:
        R = np.asarray(variance, dtype=np.float64)
        if R.shape not in ((), (size,)):
            raise ValueError(f"`variance` must be a scalar or have shape ({size},), got {R.shape}.")
        if not (np.isfinite(R).all() and (R > 0).all()):
            raise ValueError(f"the error variance must be positive and finite, got {variance}. Pass obs_std**2.")
        self.variance = np.broadcast_to(R, (size,)).copy()
        self.size = size

    @property
    def std(self) -> np.ndarray:
        """Standard deviations `(Ny,)`."""
        return np.sqrt(self.variance)

    @property
    def covariance(self) -> np.ndarray:
        """Diagonal covariance R, shape `(Ny, Ny)`."""
        return np.diag(self.variance)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one error vector `(Ny,)`."""
        return self.std * self.standard_sample(rng)

    def log_density(self, residual: Any) -> Any:
        """Return the log density `(..., Ny)` of each residual."""
        std = like(self.std, residual)
        return self.standard_log_density(residual / std) - library(residual).log(std)

    def log_density_slope(self, residual: Any) -> Any:
        """Return the derivative `(..., Ny)` of each log density by its residual."""
        std = like(self.std, residual)
        return self.standard_slope(residual / std) / std

    def restrict(self, keep: np.ndarray) -> "IndependentError":
        """Keep some of the observations."""
        return self.with_variance(self.variance[keep])

    def spec(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        return dict(name=self.name, variance=self.variance.tolist())

    @abstractmethod
    def standard_sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw `(Ny,)` errors of variance 1."""

    @abstractmethod
    def standard_log_density(self, z: Any) -> Any:
        """Return the log density of errors `z` of variance 1."""

    @abstractmethod
    def standard_slope(self, z: Any) -> Any:
        """Return the derivative of that log density."""

    @abstractmethod
    def with_variance(self, variance: np.ndarray) -> "IndependentError":
        """Return errors of the same kind with variances `(Ny',)`."""


class GaussianError(IndependentError):
    """Independent Gaussian errors; the arguments are those of `IndependentError`."""

    name = "gaussian"

    def standard_sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw standard Gaussian errors."""
        return rng.normal(size=self.size)

    def standard_log_density(self, z: Any) -> Any:
        """Return -z^2 / 2 and the constant."""
        return -0.5 * z**2 - 0.5 * math.log(2 * math.pi)

    def standard_slope(self, z: Any) -> Any:
        """Return -z."""
        return -z

    def with_variance(self, variance: np.ndarray) -> "GaussianError":
        """Return Gaussian errors with these variances."""
        return GaussianError(variance, len(variance))


class LaplaceError(IndependentError):
    """Independent errors with density exp(-|d| / b) / 2b, of which `variance` is 2 b^2; otherwise as the Gaussian."""

    name = "laplace"

    def standard_sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw Laplace errors of variance 1."""
        return rng.laplace(scale=math.sqrt(0.5), size=self.size)

    def standard_log_density(self, z: Any) -> Any:
        """Return -sqrt(2) |z| and the constant."""
        return -math.sqrt(2) * abs(z) - 0.5 * math.log(2)

    def standard_slope(self, z: Any) -> Any:
        """Return -sqrt(2) sign(z)."""
        return -math.sqrt(2) * library(z).sign(z)

    def with_variance(self, variance: np.ndarray) -> "LaplaceError":
        """Return Laplace errors with these variances."""
        return LaplaceError(variance, len(variance))


class StudentTError(IndependentError):
    """Independent Student-t errors; `variance` is their variance, not their squared scale.

    Args:
        variance: As for the Gaussian.
        size: Number of observations Ny.
        df: Degrees of freedom, above 2, or there is no variance.
    """

    name = "student_t"

    def __init__(self, variance: float | Sequence[float] | np.ndarray, size: int, df: float = 3.0) -> None:
        super().__init__(variance, size)
        if not (np.isfinite(df) and df > 2):
            raise ValueError(f"`df` must be above 2, got {df}: with fewer degrees of freedom there is no variance.")
        self.df = float(df)

    def standard_sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw Student-t errors of variance 1."""
        return math.sqrt((self.df - 2) / self.df) * rng.standard_t(self.df, size=self.size)

    def standard_log_density(self, z: Any) -> Any:
        """Return -(df + 1) / 2 log(1 + z^2 / (df - 2)) and the constant."""
        constant = math.lgamma((self.df + 1) / 2) - math.lgamma(self.df / 2) - 0.5 * math.log((self.df - 2) * math.pi)
        return constant - 0.5 * (self.df + 1) * library(z).log1p(z**2 / (self.df - 2))

    def standard_slope(self, z: Any) -> Any:
        """Return -(df + 1) z / (df - 2 + z^2)."""
        return -(self.df + 1) * z / (self.df - 2 + z**2)

    def with_variance(self, variance: np.ndarray) -> "StudentTError":
        """Return errors with these variances and the same degrees of freedom."""
        return StudentTError(variance, len(variance), self.df)

    def spec(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        return super().spec() | dict(df=self.df)


class CorrelatedGaussianError:
    """Gaussian errors with a full covariance.

    Args:
        covariance: R, shape `(Ny, Ny)`.

    Raises:
        ValueError: if R is not symmetric positive definite.
    """

    name = "correlated_gaussian"
    independent = False

    def __init__(self, covariance: Sequence[Sequence[float]] | np.ndarray) -> None:
        self.covariance = np.array(covariance, dtype=np.float64)
        self._chol = cholesky(self.covariance, "the observation error covariance")
        self.variance, self.size = self.covariance.diagonal().copy(), len(self.covariance)

    @property
    def std(self) -> np.ndarray:
        """Standard deviations `(Ny,)`."""
        return np.sqrt(self.variance)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one error vector `(Ny,)`."""
        return self._chol @ rng.normal(size=self.size)

    def log_density(self, residual: Any) -> Any:
        """Return the log densities `(..., Ny)` of uncorrelated combinations, whose sum is the log-likelihood."""
        z = residual @ like(np.linalg.inv(self._chol).T, residual)
        return -0.5 * z**2 - like(np.log(self._chol.diagonal()) + 0.5 * math.log(2 * math.pi), residual)

    def log_density_slope(self, residual: Any) -> Any:
        """Return -R^-1 d, the derivative of the log-likelihood by the residual."""
        return -residual @ like(np.linalg.inv(self.covariance), residual)

    def restrict(self, keep: np.ndarray) -> "CorrelatedGaussianError":
        """Keep some of the observations."""
        return CorrelatedGaussianError(self.covariance[np.ix_(keep, keep)])

    def spec(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        return dict(name=self.name, covariance=self.covariance.tolist())


ERRORS: dict[str, Any] = {
    kind.name: kind for kind in (GaussianError, LaplaceError, StudentTError, CorrelatedGaussianError)
}


def error_from_spec(spec: dict[str, Any]) -> ErrorModel:
    """Rebuild an error model from its `spec()`."""
    settings = dict(spec)
    name = str(settings.pop("name", ""))
    if name not in ERRORS:
        raise ScoredaError(f"unknown error model '{name}'; {suggest(name, ERRORS)}")
    if "variance" in settings:
        settings["size"] = len(settings["variance"])
    return ERRORS[name](**settings)
