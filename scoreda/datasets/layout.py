"""The one layout of every Dataset, and how it is read and written.

Dims are `time, member, space, obs`; the Dataset is flat (no groups), CF-1.11, model time in units "1". Beware that
`obs` is both a dimension and the variable `obs (time, obs)`, so xarray lists that variable among the coordinates.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from scoreda.datasets.provenance import provenance
from scoreda.errors import ScoredaError, suggest

__all__ = [
    "check_finite",
    "check_writable",
    "described",
    "flat_dataset",
    "model_times",
    "open_dataset",
    "provenance",
    "replacing",
    "with_calendar",
    "write_dataset",
]

ATTRIBUTES = {
    "time": {"long_name": "model time (MTU)", "axis": "T"},
    "member": {"long_name": "ensemble member", "standard_name": "realization"},
    "space": {"long_name": "grid index", "axis": "X"},
    "init_time": {"long_name": "model time of the initial state (MTU)"},
    "lead_time": {"long_name": "model time since the initial state (MTU)"},
    "valid_time": {"long_name": "model time of validity (MTU)"},
    "truth": {"long_name": "true state"},
    "truth_initial": {"long_name": "true state at initial_time"},
    "obs": {"long_name": "observations, NaN where missing"},
    "obs_location": {"long_name": "grid position of each observation"},
    "prior": {"long_name": "forecast ensemble before the update"},
    "analysis": {"long_name": "analysis ensemble"},
    "forecast": {"long_name": "forecast ensemble"},
}

# CF standard names of times need units of time, so they come with a calendar only.
CALENDAR_NAMES = {
    "time": "time",
    "valid_time": "time",
    "init_time": "forecast_reference_time",
    "lead_time": "forecast_period",
}


def flat_dataset(variables: dict[str, Any], coords: dict[str, Any], attrs: dict[str, Any]) -> xr.Dataset:
    """Return a Dataset of `variables` (as xarray takes them) with index coordinates and CF attributes added."""
    ds = xr.Dataset(variables, coords, attrs)
    indices = {dim: np.arange(ds.sizes[dim]) for dim in ("member", "space") if dim in ds.sizes}
    ds = ds.assign_coords(indices)
    for name, variable in ds.variables.items():
        variable.attrs = described(str(name))
    return ds


def described(name: str) -> dict[str, str]:
    """Return the CF attributes of a variable of the layout."""
    return {"units": "1", "long_name": name.replace("_", " ")} | ATTRIBUTES.get(name, {})


def with_calendar(ds: xr.Dataset, start: str = "2000-01-01", mtu_hours: float = 120.0) -> xr.Dataset:
    """Return `ds` with calendar dates (datetime64[ns]) for model time, lead times as timedelta64[ns].

    Args:
        ds: A Dataset in model time.
        start: Date of model time 0.
        mtu_hours: Hours in one model time unit; 120 for Lorenz96.
    """
    origin = np.datetime64(start, "ns")
    for name in [name for name in CALENDAR_NAMES if name in ds.coords]:
        # Whole milliseconds, so that the last bit of 0.1 + 0.2 does not show in the dates.
        elapsed = np.rint(ds[name].values * mtu_hours * 3.6e6).astype("timedelta64[ms]").astype("timedelta64[ns]")
        kept = {key: value for key, value in ds[name].attrs.items() if key == "axis"}
        dates = elapsed if name == "lead_time" else origin + elapsed
        ds = ds.assign_coords({name: (ds[name].dims, dates, kept | {"standard_name": CALENDAR_NAMES[name]})})
    return ds


def model_times(ds: xr.Dataset) -> np.ndarray:
    """Return `time` as float64 model time; ScoredaError if it is missing, a calendar's, or does not increase."""
    if "time" not in ds.coords or ds["time"].dtype.kind not in "fiu":
        raise ScoredaError(
            "the dataset has no `time` coordinate in model time. Add one, as numbers, before with_calendar."
        )
    times = ds["time"].values.astype(np.float64)
    if not (np.diff(times) > 0).all():
        raise ScoredaError("`time` must increase from one observation to the next. Sort the file by time.")
    return times


BLOWN_UP = "A model that blows up needs a smaller dt or other settings; in a file, mend or drop the entry."


def check_finite(array: np.ndarray, what: str, first: int = 0, fix: str = BLOWN_UP) -> None:
    """Raise ScoredaError if `array` holds NaN or Inf, naming the index on its first axis (counted from `first`)."""
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise ScoredaError(f"{what}: NaN or Inf at index {first + int(np.argmin(finite))}. {fix}")


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a partial path beside `path`; it becomes `path` on success and is removed on failure.

    Raises:
        ScoredaError: if the path is a folder, or its folder cannot be made or written to.
    """
    partial = _partial(Path(path))
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(path: Path | str) -> None:
    """Refuse, before it is worked for, a path that `replacing` cannot write to; errors are the same."""
    _partial(Path(path)).unlink()


def _partial(path: Path) -> Path:
    """Return an empty file beside `path`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    if path.is_dir():
        raise ScoredaError(f"cannot write '{path}': it is a folder. Give the name of a file in it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        raise ScoredaError(f"cannot write '{path}': {error.strerror}. Choose a folder you may write to.") from error
    return partial


def write_dataset(ds: xr.Dataset, path: Path | str) -> None:
    """Write `ds` to netCDF; the file appears under its name only when it is complete."""
    encoding = {str(name): {"_FillValue": None} for name in ds.indexes}  # CF: a coordinate has no missing values
    with replacing(path) as partial:
        ds.to_netcdf(partial, encoding=encoding)


def open_dataset(path: Path | str, needs: tuple[str, ...] = (), chunks: Any = None) -> xr.Dataset:
    """Open a netCDF file lazily.

    Args:
        path: The file.
        needs: Variables that must be in it.
        chunks: Passed to xarray; `{}` gives dask arrays.

    Raises:
        ScoredaError: if the file is missing, not netCDF, or lacks a variable.
    """
    path = Path(path)
    if not path.is_file():
        raise ScoredaError(f"there is no file '{path}'. Check the path.")
    try:
        ds = xr.open_dataset(path, chunks=chunks)
    except (OSError, ValueError) as error:
        raise ScoredaError(
            f"cannot read '{path}' as netCDF: {error}. It may be truncated or of another format."
        ) from error
    for name in needs:
        if name not in ds.variables:
            ds.close()
            raise ScoredaError(f"'{path}' has no variable '{name}'; {suggest(name, map(str, ds.variables))}")
    return ds
