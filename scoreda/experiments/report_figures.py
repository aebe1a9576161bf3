"""The figures of a report, each with its caption."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["hovmoeller_figure", "prior_figure", "rank_figure", "series_figure"]

WIDTH = 7.0  # inches
RANKS_WIDTH = 2.45  # inches of one rank histogram
SHOWN_CYCLES = 200  # in a Hovmoeller figure: more would leave less than a pixel of text height each
SMOOTH_OVER = 150  # points that a curve should have


def hovmoeller_figure(run: "xr.Dataset", name: str, from_start: bool) -> tuple["Figure", str]:
    """Draw truth, analysis, error and spread of a run over time and space.

    Args:
        run: A run with a truth.
        name: Method and seed, for the caption.
        from_start: Whether the first cycles are shown (how a cold start finds the truth) or the last ones.
    """
    from scoreda.plotting import hovmoeller

    cycles = run.sizes["time"]
    part = run.isel(time=slice(None, SHOWN_CYCLES) if from_start else slice(-SHOWN_CYCLES, None))
    truth, mean = part["truth"], part["analysis"].mean("member").astype("float64")
    limits = float(truth.min()), float(truth.max())
    panels: list[tuple[str, Any, dict[str, Any]]] = [
        ("Truth", truth, dict(limits=limits)),
        ("Analysis (ensemble mean)", mean, dict(limits=limits)),
        ("Error: analysis minus truth", mean - truth, dict(centred=True)),
        ("Spread (standard deviation over members)", part["analysis"].std("member", ddof=1), {}),
    ]
    figure, axes = _axes(len(panels), 1, height=7.2, sharex=True)
    for ax, (title, da, look) in zip(axes, panels, strict=True):
        hovmoeller(da.rename("").assign_attrs(long_name=""), ax, title=title, **look)
        ax.label_outer()
    which = "all" if cycles <= SHOWN_CYCLES else f"the {'first' if from_start else 'last'} {SHOWN_CYCLES} of"
    return figure, f"{name} in time (to the right) and space (upwards), {which} {cycles} cycles."


def series_figure(scores: Mapping[str, "xr.Dataset"], burn_in: int) -> tuple["Figure", str]:
    """Draw RMSE and spread of every method in time, what `verify` made of one run each."""
    from scoreda.plotting import series

    figure, (ax,) = _axes(1, 1, height=3.4)
    cycles = max(score.sizes["time"] for score in scores.values())
    smooth = max(1, cycles // SMOOTH_OVER)
    for method, score in scores.items():
        series(score, ax, label=method, smooth=smooth)
    times = next(iter(scores.values()))["time"].values
    if burn_in:
        ax.axvspan(times[0], times[min(burn_in, len(times) - 1)], color="black", alpha=0.06, linewidth=0)
    mean = f", running means over {smooth} cycles" if smooth > 1 else ""
    shaded = "; the shaded part is not scored" if burn_in else ""
    return figure, f"RMSE of the analysis (solid) and spread (dashed) in time, first seed of each method{mean}{shaded}."


def rank_figure(counts: Mapping[str, np.ndarray]) -> tuple["Figure", str]:
    """Draw the rank histogram of every method."""
    from scoreda.plotting import colour, rank_histogram

    columns = min(4, len(counts))
    rows = -(-len(counts) // columns)
    figure, axes = _axes(rows, columns, height=2.3 * rows, width=RANKS_WIDTH * columns)
    for k, (ax, (method, count)) in enumerate(zip(axes, counts.items(), strict=False)):
        rank_histogram(count, ax, title=method, bar_colour=colour(k))
        ax.set_ylabel("" if k % columns else "relative frequency")
        ax.set_xlabel("" if k + columns < len(counts) else "rank of the truth")
    for ax in axes[len(counts) :]:
        ax.remove()
    return figure, (
        "Rank of the truth among the analysis members, relative to a calibrated ensemble (dashed). "
        "A valley means too little spread, a hill too much, a slope a bias."
    )


def prior_figure(samples: "xr.Dataset") -> tuple["Figure", str]:
    """Draw marginal and spectrum of `prior (sample, space)` over those of `truth`, the model's own states."""
    from scoreda.plotting import marginal, spectrum

    states = {"model": samples["truth"].values, "learned prior": samples["prior"].values}
    figure, (left, right) = _axes(1, 2, height=3.0)
    marginal(states, left, label="value of a variable")
    spectrum(states, right)
    (mean, std), (own_mean, own_std) = ((v.mean(), v.std()) for v in (states["learned prior"], states["model"]))
    return figure, (
        "The learned prior against states of the model: probability density of one variable and energy per wavenumber. "
        f"Mean {mean:.2f} (model {own_mean:.2f}), standard deviation {std:.2f} ({own_std:.2f})."
    )


def _axes(rows: int, columns: int, height: float, width: float = WIDTH, **share: Any) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **share).ravel()
