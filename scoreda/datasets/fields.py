"""Fields of a user's own netCDF file: one variable, cut and checked, and its anomalies from the mean annual cycle."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from scoreda.datasets.layout import check_finite, open_dataset
from scoreda.errors import ScoredaError

__all__ = ["AnnualCycle", "read_field", "read_parts", "used_positions"]

PART_VALUES = 2**20  # of a field in memory at a time, where it is read in parts

GAPS = "Mend or drop the entry; where NaN means a gap, train with `mask: true` in the section `train`."


def read_field(
    path: Path | str,
    variable: str,
    select: Mapping[str, Sequence[int]] | None = None,
    needs: Sequence[str] = (),
    gaps: bool = False,
) -> xr.DataArray:
    """Read one variable of a netCDF file into memory.

    Args:
        path: The file.
        variable: Its name.
        select: Dimensions to cut to `[start, stop]`, by position.
        needs: Dimensions that it must have.
        gaps: Whether NaN is allowed.

    Raises:
        ScoredaError: if the file or the variable is not there, a dimension is not known, or a value is Inf, or NaN
            without `gaps`; the index is that in the file.
    """
    with open_dataset(path, needs=(variable,)) as ds:
        field, first = _cut(ds[variable], path, select or {}, needs)
        field = field.load()
    values = np.nan_to_num(field.values, posinf=np.inf, neginf=-np.inf) if gaps else field.values
    check_finite(values, f"{path}: `{variable}`", first, GAPS)
    return field


def read_parts(
    path: Path | str, variable: str, select: Mapping[str, Sequence[int]] | None = None, values: int = PART_VALUES
) -> Iterator[np.ndarray]:
    """Yield one variable of a netCDF file in boxes of at most so many `values`, float32, in the order of the file.

    Arguments and errors are as of `read_field`, without gaps.
    """
    with open_dataset(path, needs=(variable,)) as ds:
        field, first = _cut(ds[variable], path, select or {})
        for box in _boxes(field.shape, values):
            part = field.variable[box].values
            check_finite(part, f"{path}: `{variable}`", first + box[0].start, GAPS)
            yield part.astype(np.float32)


def used_positions(
    path: Path | str, variable: str, select: Mapping[str, Sequence[int]] | None = None, needs: Sequence[str] = ()
) -> dict[str, range]:
    """Return which positions of every dimension of a variable `read_field` reads; arguments and errors are the same."""
    with open_dataset(path, needs=(variable,)) as ds:
        _cut(ds[variable], path, select or {}, needs)
        sizes = ds[variable].sizes
    return {str(dim): range(n)[slice(*(select or {}).get(str(dim), (None,)))] for dim, n in sizes.items()}


def _cut(
    field: xr.DataArray, path: Path | str, select: Mapping[str, Sequence[int]], needs: Sequence[str] = ()
) -> tuple[xr.DataArray, int]:
    """Return a field cut to positions, and where its first dimension then begins in the file."""
    unknown = {*needs, *select} - set(field.dims)
    if unknown:
        raise ScoredaError(
            f"{path}: `{field.name}` has dimensions {', '.join(map(str, field.dims))}; "
            f"the settings name {', '.join(sorted(unknown))}."
        )
    cuts = {dim: slice(*bounds) for dim, bounds in select.items()}
    first, length = next(iter(field.sizes.items()))
    return field.isel(cuts), cuts.get(str(first), slice(None)).indices(length)[0]


def _boxes(shape: Sequence[int], values: int) -> Iterator[tuple[slice, ...]]:
    """Yield what together is an array, at most so many values at a time, cut along its first axes."""
    inner = math.prod(shape[1:])
    if inner <= values:
        rows = max(1, values // max(inner, 1))
        yield from ((slice(k, min(k + rows, shape[0])),) for k in range(0, shape[0], rows))
    else:
        yield from ((slice(k, k + 1), *rest) for k in range(shape[0]) for rest in _boxes(shape[1:], values))


@dataclass(frozen=True, eq=False)
class AnnualCycle:
    r"""The mean and the first harmonics of the year at every point of a field, fitted by least squares.

    $$ c(t) = c_0 + \sum_{h=1}^{H} a_h \cos(2 \pi h\, t) + b_h \sin(2 \pi h\, t), \quad t \text{ in years} $$

    With a few years of data this is steadier than one mean for each calendar month: 1 + 2 H numbers, not 12.

    Attributes:
        coefficients: `(1 + 2 H, ...)`, in the units of the field.
        dim: The dimension of dates.
    """

    coefficients: np.ndarray
    dim: str

    @classmethod
    def of(cls, field: xr.DataArray, harmonics: int, dim: str = "time") -> "AnnualCycle":
        """Fit the cycle to `field`, whose coordinate `dim` holds dates.

        Raises:
            ScoredaError: if `dim` holds no dates, or fewer of them than there are coefficients.
        """
        basis = _basis(field, harmonics, dim)
        if len(basis) < basis.shape[1]:
            raise ScoredaError(f"{harmonics} harmonics need {basis.shape[1]} dates or more, got {len(basis)}.")
        values = field.transpose(dim, ...).values.astype(np.float64)
        solution = np.linalg.lstsq(basis, values.reshape(len(values), -1), rcond=None)[0]
        return cls(solution.reshape(-1, *values.shape[1:]), dim)

    def anomalies(self, field: xr.DataArray) -> xr.DataArray:
        """Return `field` minus the cycle at its dates, `dim` first, the other dimensions as in the fitted field."""
        field = field.transpose(self.dim, ...)
        basis = _basis(field, (len(self.coefficients) - 1) // 2, self.dim)
        return field - np.tensordot(basis, self.coefficients, axes=1)


def _basis(field: xr.DataArray, harmonics: int, dim: str) -> np.ndarray:
    """Return the constant and the harmonics at the dates of `field`, `(dates, 1 + 2 harmonics)`."""
    dates = field[dim].values
    if not np.issubdtype(dates.dtype, np.datetime64):
        raise ScoredaError(f"`{dim}` holds no dates, so there is no annual cycle to remove. Leave `harmonics` out.")
    years = (dates - dates.astype("datetime64[Y]")) / np.timedelta64(1, "D") / 365.25
    phase = 2 * np.pi * years[:, None] * np.arange(1, harmonics + 1)
    return np.concatenate([np.ones((len(years), 1)), np.cos(phase), np.sin(phase)], axis=1)
