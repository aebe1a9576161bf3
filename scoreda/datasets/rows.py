"""Variables of a netCDF file that are written some times at a time."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scoreda.datasets.layout import described

__all__ = ["PART_VALUES", "new_rows", "times_at_once"]

PART_VALUES = 2**18  # of such a variable in memory at a time: 2 MB


def new_rows(file: Any, name: str, sizes: Mapping[Any, int], kind: Any = np.float64) -> Any:
    """Return a new variable of an open `netCDF4.Dataset` with the attributes of the layout; dimensions are made."""
    for dim, length in sizes.items():
        if dim not in file.dimensions:
            file.createDimension(dim, length)
    native = np.dtype(kind).newbyteorder("=")
    rows = file.createVariable(name, native, tuple(sizes), fill_value=np.nan if native.kind == "f" else None)
    rows.setncatts(described(name))
    return rows


def times_at_once(values: int) -> int:
    """Return how many times are in memory at once, each of so many values."""
    return max(1, PART_VALUES // max(1, values))
