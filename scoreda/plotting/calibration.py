"""Whether ensembles know their errors: point by point, and scale by scale."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from scoreda.plotting.style import colour, new_axes, plain_log, tidy

__all__ = ["error_spectra", "spread_skill_curves"]


def spread_skill_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]], ax: Axes | None = None, *, units: str = "model units"
) -> Axes:
    """Draw RMSE against spread of points that were binned by spread; calibrated ensembles lie on the diagonal.

    Args:
        curves: Name of a method, its spread (corrected for the size of the ensemble) and RMSE of each bin `(bins,)`.
        ax: Where to draw; a new figure if None.
        units: Of the states.
    """
    ax = new_axes(ax, width=4.0, height=3.4)
    for k, (name, (spread, skill)) in enumerate(curves.items()):
        ax.plot(spread, skill, marker="o", markersize=2.5, linewidth=1.2, color=colour(k), label=name)
    ax.set_xscale("log")
    plain_log(ax)
    plain_log(ax, "x")
    ends = ax.get_xlim()
    ax.plot(ends, ends, color="black", linewidth=0.9, linestyle=(0, (4, 3)), scalex=False, scaley=False)
    ax.set_xlabel(f"spread ({units})")
    ax.set_ylabel(f"RMSE ({units})")
    return tidy(ax)


def error_spectra(
    spectra: Mapping[str, tuple[ArrayLike, ArrayLike]], ax: Axes | None = None, *, units: str = "model units"
) -> Axes:
    """Draw the energy of the error (solid) and the ensemble variance (dashed) of every method by wavenumber.

    Args:
        spectra: Name of a method, its error and its spread `(wavenumbers,)`.
        ax: Where to draw; a new figure if None.
        units: Of the states.
    """
    ax = new_axes(ax, width=4.0, height=3.4)
    for k, (name, (error, spread)) in enumerate(spectra.items()):
        ax.plot(np.arange(len(np.asarray(error))), error, color=colour(k), linewidth=1.3, label=name)
        ax.plot(np.arange(len(np.asarray(spread))), spread, color=colour(k), linewidth=1.1, linestyle=(0, (3, 2)))
    plain_log(ax)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlabel("wavenumber (cycles per domain)")
    ax.set_ylabel(f"energy ({units})²")
    return tidy(ax)
