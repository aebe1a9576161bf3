"""Fields as colours: over space and time, and over longitude and latitude."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from scoreda.errors import ScoredaError
from scoreda.plotting.style import axis_label, new_axes

__all__ = ["hovmoeller", "map2d"]

MISSING = "#d0d0d0"  # land and gaps
BAR_ASPECT = {"right": 16, "bottom": 40}
# Arrow heads of the colour bar, by (values below the first colour, values above the last).
EXTEND = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}


def hovmoeller(
    da: xr.DataArray,
    ax: Axes | None = None,
    *,
    title: str = "",
    centred: bool = False,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a field over time (to the right) and space (upwards).

    Args:
        da: Two-dimensional with a dimension `time`; NaN is grey.
        ax: Where to draw; a new figure if None.
        title: Short title.
        centred: For errors: colours diverge from white at zero. Otherwise they run from dark to light.
        limits: Values of the first and the last colour; from the data if None, the outer half per cent cut off where
            `centred`, so that one outlier does not bleach the rest.

    Raises:
        ScoredaError: if the field does not have two dimensions, one of them `time`.
    """
    if da.ndim != 2 or "time" not in da.dims:
        raise ScoredaError(f"`hovmoeller` needs dims (time, space), got {da.dims}. Select a member or take the mean.")
    ax = new_axes(ax, height=2.4)
    space = next(dim for dim in da.dims if dim != "time")
    _colours(ax, da["time"], da[space], da.transpose(space, "time").values, axis_label(da), limits, centred)
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    _name_axes(ax, axis_label(da["time"], "time"), axis_label(da[space], str(space)), title)
    return ax


def map2d(
    da: xr.DataArray,
    ax: Axes | None = None,
    *,
    title: str = "",
    centred: bool = False,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a field over longitude and latitude; arguments as for `hovmoeller`, missing values (land) grey.

    Args:
        da: Dims (latitude, longitude), in either order, as marked by the CF `standard_name` or `units` of the
            coordinates; without those the last dimension is longitude.

    Raises:
        ScoredaError: if the field does not have two dimensions.
    """
    if da.ndim != 2:
        raise ScoredaError(
            f"`map2d` needs dims (latitude, longitude), got {da.dims}. Select one time with .isel(time=0)."
        )
    ax = new_axes(ax, height=3.0)
    lat, lon = da.dims[::-1] if _is_latitude(da[da.dims[1]]) else da.dims
    _colours(ax, da[lon], da[lat], da.transpose(lat, lon).values, axis_label(da), limits, centred, "bottom")
    ax.set_aspect(1 / np.cos(np.deg2rad(float(da[lat].mean()))))
    _name_axes(ax, "longitude (°E)", "latitude (°N)", title)
    return ax


def _is_latitude(coordinate: xr.DataArray) -> bool:
    return coordinate.attrs.get("standard_name") == "latitude" or coordinate.attrs.get("units") == "degrees_north"


def _colours(
    ax: Axes,
    right: xr.DataArray,
    up: xr.DataArray,
    values: np.ndarray,
    label: str,
    limits: tuple[float, float] | None,
    centred: bool,
    bar_side: str = "right",
) -> None:
    """Draw `values` `(up, right)` and the colour bar."""
    finite = values[np.isfinite(values)]
    low, high = limits or _limits(finite, centred)
    look: dict[str, Any] = dict(cmap="RdBu_r" if centred else "viridis", shading="nearest", rasterized=True)
    mesh = ax.pcolormesh(right, up, np.ma.masked_invalid(values), vmin=low, vmax=high, **look)
    ax.set_facecolor(MISSING)
    extend = EXTEND[bool((finite < low).any()), bool((finite > high).any())]
    bar = ax.figure.colorbar(mesh, ax=ax, location=bar_side, pad=0.02, aspect=BAR_ASPECT[bar_side], extend=extend)
    bar.outline.set_visible(False)
    bar.set_label(label)


def _limits(finite: np.ndarray, centred: bool) -> tuple[float, float]:
    """Return the values of the first and the last colour."""
    if not finite.size:
        return 0.0, 1.0
    if centred:
        bound = float(np.quantile(np.abs(finite), 0.995)) or 1.0
        return -bound, bound
    return float(finite.min()), float(finite.max())


def _name_axes(ax: Axes, right: str, up: str, title: str) -> None:
    ax.set_xlabel(right)
    ax.set_ylabel(up)
    ax.set_title(title, loc="left")
