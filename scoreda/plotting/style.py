"""What every figure shares: colours that survive colour blindness and grey printing, and quiet axes."""

from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = [
    "COLOURS",
    "GREY",
    "axis_label",
    "colour",
    "legend_above",
    "legend_right",
    "line_look",
    "marker_look",
    "new_axes",
    "ordered_colours",
    "plain_log",
    "tidy",
]

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, without the yellow that vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#6b6b6b"
MARKERS = ("o", "s", "^", "D", "v", "P")


def colour(index: int) -> str:
    """Return the colour of the `index`-th line; they repeat after seven."""
    return COLOURS[index % len(COLOURS)]


def line_look(index: int) -> dict[str, Any]:
    """Return how the `index`-th set of a comparison is drawn: the first, the reference, grey and wide."""
    if index == 0:
        return dict(color=GREY, linewidth=4, alpha=0.45)
    return dict(color=colour(index - 1), linewidth=1.4)


def marker_look(index: int) -> dict[str, Any]:
    """Return how the `index`-th mark is drawn: after the seven colours the shape changes."""
    return dict(color=colour(index), marker=MARKERS[index // len(COLOURS) % len(MARKERS)], markersize=6)


def ordered_colours(number: int) -> list[Any]:
    """Return colours from dark to light for lines that have an order, such as diffusion times."""
    return list(colormaps["viridis"](np.linspace(0, 0.88, number)))  # the last yellow vanishes on white


def new_axes(ax: Axes | None, width: float = 6.4, height: float = 3.2) -> Axes:
    """Return `ax`, or axes on a new figure (inches) that belongs to no window and no global state."""
    return ax if ax is not None else Figure(figsize=(width, height), layout="constrained").subplots()


def tidy(ax: Axes, grid: str = "y") -> Axes:
    """Remove the frame's upper and right side and draw a faint grid along `grid` ("x", "y", "both" or "")."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color="#e2e2e2", linewidth=0.6)  # type: ignore[arg-type]
    return ax


def legend_above(ax: Axes) -> None:
    """Put the legend above the axes, where it hides no data."""
    ax.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def legend_right(ax: Axes) -> None:
    """Put the legend to the right of the axes: for many lines, in their order from above."""
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.2)


def plain_log(ax: Axes, axis: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic, labelled 0.1, 0.2, 0.5, 1 instead of powers of ten."""
    ax.set(**{f"{axis}scale": "log"})
    low, high = ax.get_ylim() if axis == "y" else ax.get_xlim()
    ticks = ax.yaxis if axis == "y" else ax.xaxis
    most = 3000 if axis == "y" else 300  # labels beside one another take more room than above one another
    ticks.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < most else (1.0,)))
    ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ticks.set_minor_formatter(NullFormatter())


def axis_label(da: Any, default: str = "") -> str:
    """Return "long name (units)" of a DataArray; units "1" are left out."""
    name = str(da.attrs.get("long_name", "") or da.name or default)
    units = str(da.attrs.get("units", ""))
    return name if units in ("", "1") else f"{name} ({units})"
