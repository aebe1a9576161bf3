"""How values are distributed: ranks of the truth, marginal densities, energy over wavenumbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from scoreda.plotting.style import COLOURS, GREY, colour, legend_above, line_look, new_axes, plain_log, tidy
from scoreda.verification.arrays import energy_spectrum
from scoreda.verification.fields import densities

__all__ = ["marginal", "rank_histogram", "spectrum"]

MOST_BARS = 50  # of a rank histogram: more are thinner than the noise in them


def rank_histogram(counts: ArrayLike, ax: Axes | None = None, *, title: str = "", bar_colour: str = COLOURS[0]) -> Axes:
    """Draw how often the truth takes each rank in the ensemble, relative to a calibrated one (the line at 1).

    A valley means too little spread, a hill too much, a slope a bias. Many ranks are drawn together, in up to 50 bars.

    Args:
        counts: Of the ranks 0..N, `(N + 1,)`, as from `scoreda.verification.rank_counts`.
        ax: Where to draw; a new figure if None.
        title: Short title.
        bar_colour: Colour of the bars.
    """
    counts = np.asarray(counts, dtype=np.float64)
    ax = new_axes(ax, width=3.6, height=2.6)
    edges = np.linspace(0, len(counts), min(len(counts), MOST_BARS) + 1).round().astype(int)
    frequency = np.add.reduceat(counts, edges[:-1]) / np.diff(edges) / max(counts.mean(), 1e-300)
    width = np.diff(edges)
    ax.bar(edges[:-1] + (width - 1) / 2, frequency, width=0.9 * width, color=bar_colour)
    ax.set_ylim(0, max(1.5, 1.05 * frequency.max()))  # a flat histogram should look flat
    ax.axhline(1, color="black", linewidth=0.9, linestyle=(0, (4, 3)))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlabel("rank of the truth")
    ax.set_ylabel("relative frequency")
    ax.set_title(title, loc="left")
    return tidy(ax)


def marginal(states: Mapping[str, ArrayLike], ax: Axes | None = None, *, bins: int = 60, label: str = "value") -> Axes:
    """Draw the probability density of single values of one or more sets of states.

    Args:
        states: Name and samples `(samples, Nx)` of each set; the first is the reference, drawn as a grey area.
        ax: Where to draw; a new figure if None.
        bins: Histogram bins over the range that all sets take.
        label: Name and units of the values.
    """
    ax = new_axes(ax, width=4.4)
    edges, curves = densities(*states.values(), bins=bins)
    for k, (name, density) in enumerate(zip(states, curves, strict=True)):
        look: dict[str, Any] = (
            dict(color=GREY, alpha=0.35, fill=True) if k == 0 else dict(color=colour(k - 1), linewidth=1.4)
        )
        ax.stairs(density, edges, label=name, **look)
    ax.set_ylim(bottom=0)
    ax.set_xlabel(label)
    ax.set_ylabel("probability density")
    legend_above(ax)
    return tidy(ax)


def spectrum(states: Mapping[str, ArrayLike], ax: Axes | None = None, *, units: str = "model units") -> Axes:
    """Draw the energy in each wavenumber 0..Nx/2 of one or more sets of periodic fields; its sum is the variance.

    Args:
        states: Name and samples `(samples, Nx)` of each set; the first is the reference, drawn in grey.
        ax: Where to draw; a new figure if None.
        units: Units of the states.
    """
    ax = new_axes(ax, width=4.4)
    for k, (name, samples) in enumerate(states.items()):
        energy = energy_spectrum(samples)
        ax.plot(np.arange(len(energy)), energy, label=name, **line_look(k))
    plain_log(ax)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlabel("wavenumber (cycles per domain)")
    ax.set_ylabel(f"energy ({units})²")
    legend_above(ax)
    return tidy(ax)
