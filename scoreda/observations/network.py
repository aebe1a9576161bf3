"""Observations with their meaning: values, when, of what, how well."""

from dataclasses import dataclass

import numpy as np

from scoreda.observations.errors import GaussianError
from scoreda.observations.operators import Operator

__all__ = ["Network", "Observation"]


@dataclass(frozen=True)
class Observation:
    """One batch of observations.

    Attributes:
        time: Model time of validity.
        values: `(Ny,)`, NaN where missing.
        operator: From states to the Ny values.
        error: Error model of the Ny values.

    Raises:
        ValueError: if the sizes disagree.
    """

    time: float
    values: np.ndarray
    operator: Operator
    error: GaussianError

    def __post_init__(self) -> None:
        Ny = self.operator.size
        if self.values.shape != (Ny,) or self.error.size != Ny:
            raise ValueError(
                f"the operator has {Ny} outputs, but `values` has shape {self.values.shape} and the error model "
                f"{self.error.size} variances. Mark missing values with NaN instead of leaving them out."
            )

    @property
    def is_empty(self) -> bool:
        """Whether every value is missing."""
        return bool(np.isnan(self.values).all())

    def present(self) -> "Observation":
        """Return the observation without its missing values; itself if none is missing or all are."""
        missing = np.isnan(self.values)
        if not missing.any() or missing.all():
            return self
        keep = np.flatnonzero(~missing)
        return Observation(self.time, self.values[keep], self.operator.restrict(keep), self.error.restrict(keep))


@dataclass(frozen=True)
class Network:
    """What is observed (`operator`), how well (`error`) and how often (every `interval` model time units)."""

    operator: Operator
    error: GaussianError
    interval: float

    def __post_init__(self) -> None:
        if self.error.size != self.operator.size:
            raise ValueError(f"the operator has {self.operator.size} outputs, the error model {self.error.size}.")
        if not self.interval > 0:
            raise ValueError(f"`interval` must be positive, got {self.interval}.")
