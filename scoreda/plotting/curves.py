"""Numbers that change: scores over the cycles of a run, losses over the steps of a training."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from scoreda.plotting.style import COLOURS, axis_label, colour, legend_above, new_axes, plain_log, tidy
from scoreda.verification import verify

__all__ = ["loss_curve", "series"]

DECADE = 10.0  # curves that span more than this factor are drawn on a logarithmic axis


def series(
    run: xr.Dataset,
    ax: Axes | None = None,
    *,
    label: str = "",
    line_colour: str | None = None,
    smooth: int = 1,
    log: bool | None = None,
) -> Axes:
    """Draw RMSE (solid) and spread (dashed) of the analysis in time; call it once per method on the same axes.

    A run that ends in NaN, having diverged, is marked with a cross at its last finite RMSE.

    Args:
        run: A run, or what `verify` made of it.
        ax: Where to draw; a new figure if None.
        label: Name in the legend; the run's method if empty.
        line_colour: Colour; the next free one if None.
        smooth: Cycles in the running mean.
        log: Logarithmic axis; None: if the RMSE falls or grows by more than a factor of ten.
    """
    scores = run if "rmse_a" in run else verify(run)
    ax = new_axes(ax)
    line_colour = line_colour or colour(len(ax.lines) // 2)
    times, error, width = (_running_mean(scores[name].values, smooth) for name in ("time", "rmse_a", "spread_a"))
    ax.plot(times, error, color=line_colour, linewidth=1.3, label=label or scores.attrs.get("method", ""))
    ax.plot(times, width, color=line_colour, linewidth=1.1, linestyle=(0, (3, 2)))
    finite = np.flatnonzero(np.isfinite(error))
    if len(finite) and finite[-1] < len(error) - 1:
        ax.scatter(times[finite[-1]], error[finite[-1]], marker="x", color=line_colour, zorder=3)
    if log or (log is None and _spans_a_decade(error)):
        plain_log(ax)
    ax.set_xlabel(axis_label(scores["time"], "time"))
    ax.set_ylabel("RMSE (solid), spread (dashed)")
    legend_above(ax)
    return tidy(ax)


def loss_curve(rows: Sequence[Mapping[str, float]], ax: Axes | None = None) -> Axes:
    """Draw training and validation loss over the steps.

    Args:
        rows: One mapping per validation with `step`, `loss` and `valid`: the lines of `metrics.jsonl`.
        ax: Where to draw; a new figure if None.
    """
    ax = new_axes(ax, width=5.2)
    steps = [row["step"] for row in rows]
    for name, key, style in (("training", "loss", (0, (3, 2))), ("validation, averaged weights", "valid", "-")):
        ax.plot(
            steps, [row[key] for row in rows], color=COLOURS[key == "loss"], linestyle=style, label=name, linewidth=1.3
        )
    if _spans_a_decade(np.array([[row["loss"], row["valid"]] for row in rows])):
        plain_log(ax)
    ax.set_xlabel("training step")
    ax.set_ylabel("denoising loss (normalised units)")
    legend_above(ax)
    return tidy(ax)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    return np.convolve(values, np.full(width, 1 / width), mode="valid") if width > 1 else values


def _spans_a_decade(values: np.ndarray) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    return positive.size > 0 and bool(positive.max() > DECADE * positive.min())
