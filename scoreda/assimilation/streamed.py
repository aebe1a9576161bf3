"""The rows of a run in a file from the start, one cycle after the other, in place of memory."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from scoreda.datasets.layout import described
from scoreda.datasets.rows import new_rows, times_at_once

__all__ = ["DIMS", "streamed_rows", "write_header"]

DIMS = ("time", "member", "space")


@contextmanager
def streamed_rows(path: Path) -> Iterator[Callable[[str, tuple[int, ...]], Any]]:
    """Yield what makes the variables of a new netCDF file: of a name and a shape, `(time,)` or all of `DIMS`.

    A variable takes one time by assignment, as an array does. Ensembles are in single precision, numbers in double;
    times that are never written are NaN.
    """
    from netCDF4 import Dataset

    with Dataset(path, "w") as file:

        def new_rows(name: str, shape: tuple[int, ...]) -> Any:
            dims = DIMS[: len(shape)]
            for dim, length in zip(dims, shape, strict=True):
                if dim not in file.dimensions:
                    file.createDimension(dim, length)
            kind, chunks = ("f4", (1, *shape[1:])) if shape[1:] else ("f8", None)
            rows = file.createVariable(name, kind, dims, chunksizes=chunks, fill_value=np.nan)
            if chunks is not None:  # a row is written once, so a cache of many only fills memory
                rows.set_var_chunk_cache(size=4 * math.prod(chunks))
            rows.setncatts(described(name))
            return rows

        yield new_rows


def write_header(ds: xr.Dataset, sizes: Mapping[str, int], path: Path) -> None:
    """Add variables, attributes and the indices of `sizes` to a file of rows; what has times passes some at a time."""
    ds = ds.drop_encoding().assign_coords({dim: (dim, np.arange(n), described(dim)) for dim, n in sizes.items()})
    long = [
        str(name) for name, variable in ds.variables.items() if variable.dims[:1] == ("time",) and variable.ndim > 1
    ]
    copy_rows({name: ds.variables[name] for name in long}, path)
    ds = ds.drop_vars(long)
    ds.to_netcdf(path, mode="a", encoding={str(name): {"_FillValue": None} for name in ds.indexes})


def copy_rows(variables: Mapping[str, xr.Variable], path: Path) -> None:
    """Add variables `(time, ...)` to a file, some times in memory at once."""
    from netCDF4 import Dataset

    with Dataset(path, "a") as file:
        for name, rows in variables.items():
            made, step = new_rows(file, name, rows.sizes, rows.dtype), times_at_once(math.prod(rows.shape[1:]))
            for k in range(0, len(rows), step):
                made[k : k + step] = rows[k : k + step].values
