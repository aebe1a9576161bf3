"""Observations with their meaning: values, when, of what, how well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scoreda.observations.errors import ErrorModel
from scoreda.observations.operators import MovingSites, Operator, operator_at

__all__ = ["Network", "Observation"]


@dataclass(frozen=True)
class Observation:
    """One batch of observations.

    Attributes:
        time: Model time of validity.
        values: `(Ny,)`, NaN where missing.
        operator: From states to the Ny values.
        error: Error model of the Ny values.
        kept: Where these values stood `(Ny,)` before missing ones were dropped; None if none was. With it, an operator
            that no file can hold is restricted once more when a state comes back.

    Raises:
        ValueError: if the sizes disagree.
    """

    time: float
    values: np.ndarray
    operator: Operator
    error: ErrorModel
    kept: np.ndarray | None = None

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
        # One value that is there tells at once.
        return not self.values.size or (math.isnan(self.values[0]) and bool(np.isnan(self.values).all()))

    def present(self) -> "Observation":
        """Return the observation without its missing values; itself if none is missing or all are."""
        missing = np.isnan(self.values)
        if not missing.any() or missing.all():
            return self
        keep = np.flatnonzero(~missing)
        kept = keep if self.kept is None else self.kept[keep]
        return Observation(self.time, self.values[keep], self.operator.restrict(keep), self.error.restrict(keep), kept)


@dataclass(frozen=True)
class Network:
    """What is observed, how well and when.

    Attributes:
        operator: From states to observations; `MovingSites` gives another one at every time.
        error: Error model.
        interval: Model time units from one observation to the next. With `times`, their mean distance, from 0 on.
        times: In place of a fixed interval: the observation times, counted from the initial state.

    Raises:
        ValueError: if the sizes disagree, not just one of `interval` and `times` is given, the interval is not
            positive, or the times do not increase from above 0.
    """

    operator: Operator | MovingSites
    error: ErrorModel
    interval: float = math.nan
    times: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.error.size != self.operator.size:
            raise ValueError(f"the operator has {self.operator.size} outputs, the error model {self.error.size}.")
        if self.times is not None:
            self._take_times()
        elif not self.interval > 0:
            raise ValueError(f"`interval` must be positive, got {self.interval}. Pass it, or times=.")

    def _take_times(self) -> None:
        times = np.array(self.times, dtype=np.float64).ravel()
        if not math.isnan(self.interval):
            raise ValueError("`interval` and `times` exclude each other. Pass one of them.")
        if not len(times) or not np.isfinite(times).all() or (np.diff(times, prepend=0.0) <= 0).any():
            raise ValueError("`times` must be finite and increase from above 0, the time of the initial state.")
        object.__setattr__(self, "times", tuple(times.tolist()))
        object.__setattr__(self, "interval", float(times[-1] / len(times)))

    def at(self, time: float) -> Operator:
        """Return the operator of the observations at `time`."""
        return operator_at(self.operator, time)

    def observation_times(self, cycles: int) -> np.ndarray:
        """Return the first `cycles` times, counted from the initial state; ValueError if there are not as many."""
        if self.times is None:
            return self.interval * np.arange(1, cycles + 1)
        if cycles > len(self.times):
            raise ValueError(f"`cycles` is {cycles}, but the network has {len(self.times)} times. Ask for fewer.")
        return np.array(self.times[:cycles])
