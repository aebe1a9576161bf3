"""The observations of a twin experiment or of a user's file, one batch per time, read some times at a time."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from scoreda.datasets.layout import model_times
from scoreda.datasets.rows import times_at_once
from scoreda.errors import ScoredaError, suggest
from scoreda.observations import (
    ErrorModel,
    GaussianError,
    MovingSites,
    Observation,
    Operator,
    error_from_spec,
    operator_at,
    operator_from_spec,
)

__all__ = ["Batches", "attribute", "observations", "spec_of"]


def observations(
    twin: xr.Dataset, operator: Operator | MovingSites | None = None, error: ErrorModel | None = None
) -> Iterator[Observation]:
    """Iterate over the observations of a twin, one batch per time.

    Args:
        twin: A twin experiment, or a user's file in its layout.
        operator: In place of the one in the attributes; needed where that was a user's callable.
        error: In place of the one in the attributes.

    Raises:
        ScoredaError: at once, if `obs` is missing, of the wrong shape, empty or infinite, or the operator is not known.
    """
    return Batches(twin, operator, error).between()


class Batches:
    """The observations of a twin; those of a file that was opened are read when their turn comes.

    Args:
        twin, operator, error: As of `observations`, as are the errors.
    """

    def __init__(
        self, twin: xr.Dataset, operator: Operator | MovingSites | None = None, error: ErrorModel | None = None
    ) -> None:
        self._obs = _checked(twin)
        self.operator = operator or operator_from_spec(spec_of(twin, "operator"))
        if self._obs.shape[1] != self.operator.size:
            raise ScoredaError(
                f"`obs` has {self._obs.shape[1]} values per time, the operator {self.operator.size}. Mark missing "
                "values with NaN instead of leaving them out, or pass the operator= that fits."
            )
        self.error = error or _error_of(twin, self.operator.size)
        self._times = model_times(twin)

    def __len__(self) -> int:
        return len(self._times)

    def between(self, start: int = 0, stop: int | None = None) -> Iterator[Observation]:
        """Iterate over the batches of the times from `start` to before `stop`, by default all."""
        times = self._times[start:stop]
        for k, values in _parts(self._obs[start:stop]):
            for time, y in zip(times[k : k + len(values)], values, strict=True):
                yield Observation(float(time), y, operator_at(self.operator, time), self.error)


def _parts(obs: xr.Variable) -> Iterator[tuple[int, np.ndarray]]:
    """Yield observations as float64 `(some times, Ny)` with the index of their first time."""
    rows = times_at_once(obs.shape[1])
    for start in range(0, len(obs), rows):
        yield start, obs[start : start + rows].values.astype(np.float64)


def _checked(twin: xr.Dataset) -> xr.Variable:
    """Return `obs` `(time, Ny)`; ScoredaError if it is not fit for use."""
    if "obs" not in twin.variables:
        raise ScoredaError(f"the dataset has no variable 'obs'; {suggest('obs', map(str, twin.variables))}")
    obs = twin["obs"].variable
    if obs.dims != ("time", "obs"):
        raise ScoredaError(f"`obs` must have dims (time, obs), got {obs.dims}. Transpose or rename them.")
    if obs.dtype.kind not in "fiu":
        raise ScoredaError(f"`obs` must hold numbers, got {obs.dtype}. Convert them, with NaN where missing.")
    missing = True
    for _, values in _parts(obs):
        missing &= bool(np.isnan(values).all())
        if np.isinf(values).any():
            raise ScoredaError("`obs` holds infinite values. Mark missing values with NaN.")
    if missing:
        raise ScoredaError("`obs` holds nothing but NaN. There is nothing to assimilate.")
    return obs


def _error_of(twin: xr.Dataset, size: int) -> ErrorModel:
    """Return the error model in the attributes; a variance alone is that of Gaussian errors."""
    if "obs_error" in twin.attrs:
        return error_from_spec(json.loads(twin.attrs["obs_error"]))
    return GaussianError(attribute(twin, "obs_variance", "error=GaussianError(variance, size)"), size)


def attribute(twin: xr.Dataset, name: str, instead: str = "") -> Any:
    """Return an attribute of a twin; ScoredaError if it is missing, naming the argument that would do `instead`."""
    if name not in twin.attrs:
        fix = f"Pass {instead}" if instead else "Make it with `twin_dataset`"
        raise ScoredaError(f"the dataset has no attribute '{name}'. {fix}, or set twin.attrs['{name}'].")
    return twin.attrs[name]


def spec_of(twin: xr.Dataset, name: str) -> dict[str, Any]:
    """Return the model's or operator's settings from the attributes."""
    spec = json.loads(attribute(twin, name, f"{name}="))
    if spec is None:
        raise ScoredaError(f"the {name} of this twin was a user's callable, which a file cannot hold. Pass {name}=.")
    return spec
