"""Fields as colours: over space and time, and over longitude and latitude."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from scoreda.errors import ScoredaError
from scoreda.plotting.style import axis_label, new_axes

__all__ = ["colour_bar", "colour_mesh", "hovmoeller", "map2d"]

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
    values = da.transpose(space, "time").values
    colour_bar(colour_mesh(ax, da["time"], da[space], values, limits, centred), ax, values, axis_label(da))
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
    values = da.transpose(lat, lon).values
    colour_bar(colour_mesh(ax, da[lon], da[lat], values, limits, centred), ax, values, axis_label(da), "bottom")
    ax.set_aspect(1 / np.cos(np.deg2rad(float(da[lat].mean()))))
    _name_axes(ax, "longitude (°E)", "latitude (°N)", title)
    return ax


def _is_latitude(coordinate: xr.DataArray) -> bool:
    return coordinate.attrs.get("standard_name") == "latitude" or coordinate.attrs.get("units") == "degrees_north"


def colour_mesh(
    ax: Axes,
    right: ArrayLike,
    up: ArrayLike,
    values: np.ndarray,
    limits: tuple[float, float] | None = None,
    centred: bool = False,
) -> QuadMesh:
    """Draw `values` `(up, right)` as colours, NaN grey; limits and colours as for `hovmoeller`."""
    low, high = limits or _limits(values[np.isfinite(values)], centred)
    look: dict[str, Any] = dict(cmap="RdBu_r" if centred else "viridis", shading="nearest", rasterized=True)
    ax.set_facecolor(MISSING)
    return ax.pcolormesh(right, up, np.ma.masked_invalid(values), vmin=low, vmax=high, **look)


def colour_bar(
    mesh: QuadMesh, axes: Axes | Sequence[Axes], values: np.ndarray, label: str, side: str = "right"
) -> None:
    """Draw the colour bar of `mesh` beside `axes`, with an arrow head where some of `values` are off its end."""
    first = axes if isinstance(axes, Axes) else axes[0]
    low, high = mesh.get_clim()
    finite = values[np.isfinite(values)]
    extend = EXTEND[bool((finite < low).any()), bool((finite > high).any())]
    bar = first.figure.colorbar(mesh, ax=axes, location=side, pad=0.02, aspect=BAR_ASPECT[side], extend=extend)
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
