"""One variable under diffusion: its densities, its potentials and the paths of its equation."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from scoreda.plotting.schedules import DIFFUSION_TIME
from scoreda.plotting.style import COLOURS, GREY, legend_above, legend_right, new_axes, ordered_colours, tidy

__all__ = ["histogram", "marginal_and_potential", "potentials", "sample_paths"]

DEPTH = 10.0  # a potential is drawn this far above its minimum; the density has fallen to e^-10 there
SHADE: dict[str, Any] = dict(color=GREY, alpha=0.35, fill=True)


def potentials(x: ArrayLike, densities: Mapping[str, ArrayLike], ax: Axes | None = None, *, label: str = "$x$") -> Axes:
    """Draw the potentials -ln p of one or more densities, dark to light in their order (diffusion time).

    Args:
        x: Points, `(n,)`.
        densities: Name and density at `x`, `(n,)`, of each.
        ax: Where to draw; a new figure if None.
        label: Name and units of `x`.
    """
    ax = new_axes(ax, width=5.2)
    curves = {name: potential(density) for name, density in densities.items()}
    for (name, curve), shade in zip(curves.items(), ordered_colours(len(curves)), strict=True):
        ax.plot(x, curve, color=shade, linewidth=1.6, label=name)
    lowest = min(np.nanmin(curve) for curve in curves.values())
    ax.set_ylim(lowest - 0.04 * DEPTH, lowest + DEPTH)
    ax.set_xlabel(label)
    ax.set_ylabel(r"potential $-\ln p$")
    legend_right(ax)
    return tidy(ax)


def marginal_and_potential(
    values: ArrayLike,
    x: ArrayLike,
    density: ArrayLike,
    ax: Axes | None = None,
    *,
    bins: int = 60,
    label: str = "$x$",
) -> Axes:
    """Draw a histogram of samples, the density it should have and, on an axis to the right, the potential -ln p.

    Args:
        values: Samples, any shape.
        x: Points, `(n,)`.
        density: At `x`, `(n,)`.
        ax: Where to draw; a new figure if None.
        bins: Histogram bins over the range of `x`.
        label: Name and units of `x`.
    """
    ax = new_axes(ax, width=4.8)
    histogram(ax, values, x, bins, label="samples")
    ax.plot(x, density, color=COLOURS[0], linewidth=1.4, label="density $p$")
    right, curve = ax.twinx(), potential(density)
    right.plot(x, curve, color=COLOURS[1], linewidth=1.4, linestyle=(0, (4, 2)))
    right.set_ylim(np.nanmin(curve), np.nanmin(curve) + DEPTH)
    right.set_ylabel(r"potential $-\ln p$", color=COLOURS[1])
    right.tick_params(axis="y", colors=COLOURS[1])
    right.spines["top"].set_visible(False)
    ax.set_ylim(bottom=0)
    ax.plot([], [], color=COLOURS[1], linewidth=1.4, linestyle=(0, (4, 2)), label="potential")
    ax.set_xlabel(label)
    ax.set_ylabel("probability density")
    legend_above(ax)
    return tidy(ax, grid="")


def potential(density: ArrayLike) -> np.ndarray:
    """Return -ln p, NaN where the density is zero."""
    density = np.asarray(density, dtype=np.float64)
    return -np.log(density, where=density > 0, out=np.full(density.shape, np.nan))


def sample_paths(
    times: ArrayLike,
    paths: ArrayLike,
    ax: Axes | None = None,
    *,
    shown: int = 50,
    level: float = 0.9,
    label: str = "$x_t$",
) -> Axes:
    """Draw paths of a stochastic equation, and the mean and the central band of all of them.

    Where time falls, as in a reverse run, the axis falls too: the run always goes to the right.

    Args:
        times: `(T,)`, rising or falling.
        paths: `(paths, T)`.
        ax: Where to draw; a new figure if None.
        shown: Paths drawn one by one: the first so many.
        level: Share of the paths between the dashed lines.
        label: Name and units of the values.
    """
    times, paths = np.asarray(times), np.asarray(paths)
    ax = new_axes(ax, width=5.2)
    ax.plot(times, paths[:shown].T, color=COLOURS[0], linewidth=0.6, alpha=0.35)
    ax.plot(times, paths.mean(0), color="black", linewidth=1.6, label="mean")
    edges = np.quantile(paths, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    for edge, name in zip(edges, (f"central {level:.0%}", None), strict=True):
        ax.plot(times, edge, color="black", linewidth=1.1, linestyle=(0, (4, 2)), label=name)
    ax.set_xlim(times[0], times[-1])
    ax.set_xlabel(DIFFUSION_TIME)
    ax.set_ylabel(label)
    legend_above(ax)
    return tidy(ax)


def histogram(ax: Axes, values: ArrayLike, x: ArrayLike, bins: int, label: str = "") -> None:
    """Draw the density of `values` within the range of `x`; the share outside it counts as well."""
    values, x = np.ravel(np.asarray(values)), np.asarray(x)
    counts, edges = np.histogram(values, bins, range=(x.min(), x.max()))
    ax.stairs(counts / (values.size * np.diff(edges)), edges, label=label, **SHADE)
