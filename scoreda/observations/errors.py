"""Observation-error models."""

from typing import Any

import numpy as np

__all__ = ["GaussianError"]


class GaussianError:
    """Independent Gaussian errors.

    Args:
        variance: Error variance, a scalar or one per observation `(Ny,)`; not a standard deviation.
        size: Number of observations Ny.

    Raises:
        ValueError: if a variance is not positive and finite, or the shape does not fit.
    """

    def __init__(self, variance: float | np.ndarray, size: int) -> None:
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

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one error vector `(Ny,)`."""
        return self.std * rng.normal(size=self.size)

    def restrict(self, keep: np.ndarray) -> "GaussianError":
        """Keep some of the observations."""
        return GaussianError(self.variance[keep], len(np.asarray(keep)))

    def spec(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        return dict(name="gaussian", variance=self.variance.tolist())
