"""Methods beside each other: who is best, what it costs, how soon the truth is found."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter
from numpy.typing import ArrayLike

from scoreda.plotting.style import COLOURS, GREY, line_look, marker_look, new_axes, plain_log, tidy

__all__ = ["acquisition", "level_dots", "ranked", "trade_off"]

DECADE = 10.0  # values that span more than this factor are drawn on a logarithmic axis


def ranked(
    values: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    *,
    expected: Mapping[str, float] | None = None,
    errors: Mapping[str, float] | None = None,
    label: str = "RMSE",
) -> Axes:
    """Draw the mean of every method with its standard error, from above in the given order, over its single runs.

    Args:
        values: Name of a method and its value in each run; NaN are left out.
        ax: Where to draw; a new figure if None.
        expected: What others report, drawn as diamonds.
        errors: Standard errors in place of those over runs.
        label: Name and units of the values.
    """
    known = {name: _finite(runs) for name, runs in values.items()}
    ax = new_axes(ax, height=0.8 + 0.24 * len(known))
    expected, errors = expected or {}, errors or {}
    for row, (name, runs) in enumerate(known.items()):
        ax.plot(
            runs, np.full(len(runs), row + 0.25), linestyle="", marker="o", markersize=3, color=COLOURS[5], alpha=0.8
        )
        if len(runs):
            error = errors.get(name, runs.std(ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else np.nan)
            ax.errorbar(runs.mean(), row, xerr=error, marker="o", markersize=5, color=COLOURS[0], capsize=2.5)
        ax.plot(expected.get(name, np.nan), row, marker="D", markersize=6, fillstyle="none", color=COLOURS[1])
    _name_rows(ax, list(known))
    if _spans_a_decade(np.concatenate([*known.values(), [value for name, value in expected.items() if name in known]])):
        plain_log(ax, "x")
    ax.set_xlabel(label)
    return tidy(ax, grid="x")


def level_dots(
    values: Mapping[str, Sequence[float]], levels: Sequence[float], ax: Axes | None = None, *, label: str = "coverage"
) -> Axes:
    """Draw what share of the truths lies in central intervals, one row per method, beside lines at their levels.

    Args:
        values: Name of a method and its coverage at each of the levels.
        levels: Nominal coverage.
        ax: Where to draw; a new figure if None.
        label: Of the axis.
    """
    ax = new_axes(ax, width=3.6, height=0.8 + 0.24 * len(values))
    for k, level in enumerate(levels):
        ax.axvline(level, color=COLOURS[k], linewidth=0.9, linestyle=(0, (4, 3)))
        ax.plot([found[k] for found in values.values()], range(len(values)), "o", color=COLOURS[k], markersize=5)
    _name_rows(ax, list(values))
    ax.set_xlim(0, 1)
    ax.set_xticks([0, *levels], [f"{100 * level:g}" for level in (0, *levels)])
    ax.set_xlabel(f"{label} (%)")
    return tidy(ax, grid="")


def trade_off(
    x: Mapping[str, float],
    y: Mapping[str, tuple[float, float]],
    ax: Axes | None = None,
    *,
    x_label: str = "members",
    y_label: str = "RMSE",
    names: Sequence[str] = (),
) -> Axes:
    """Draw a score and its standard error against a cost, one mark per method; both axes are logarithmic.

    Args:
        x: Name of a method and its cost; those without a positive one are left out.
        y: Mean and standard error (or NaN).
        ax: Where to draw; a new figure if None.
        x_label: Name and units of the cost.
        y_label: Name and units of the score.
        names: All methods, in the order of their marks; those of `x` if empty.
    """
    ax = new_axes(ax, width=4.4)
    for k, name in enumerate(names or list(x)):
        mean, error = y.get(name, (np.nan, np.nan))
        if x.get(name, 0) > 0 and np.isfinite(mean):
            ax.errorbar(x[name], mean, yerr=error, label=name, capsize=2.5, linestyle="", **marker_look(k))
    plain_log(ax, "x")
    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
    plain_log(ax)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    return tidy(ax, grid="both")


def acquisition(
    errors: ArrayLike,
    ax: Axes | None = None,
    *,
    reference: ArrayLike | None = None,
    level: float | None = None,
    title: str = "",
) -> Axes:
    """Draw how an error falls from the first cycle on: median over runs, and the band between the quartiles.

    Args:
        errors: `(runs, time)`; NaN, a run that has diverged, counts as larger than everything.
        ax: Where to draw; a new figure if None.
        reference: Another series `(time,)`, drawn in grey.
        level: Error below which the truth counts as found.
        title: Short title.
    """
    ax = new_axes(ax, width=3.6, height=2.6)
    errors = np.where(np.isnan(errors), np.inf, np.asarray(errors, dtype=np.float64))
    cycles = 1 + np.arange(errors.shape[1])
    if reference is not None:
        ax.plot(cycles, np.asarray(reference)[: len(cycles)], **line_look(0) | {"linewidth": 1.5})
    low, high = np.quantile(errors, [0.25, 0.75], axis=0, method="inverted_cdf")  # interpolation knows no infinity
    top = 2 * max(errors[np.isfinite(errors)], default=1.0)
    ax.fill_between(cycles, low, np.minimum(high, top), color=COLOURS[0], alpha=0.25, linewidth=0)
    ax.plot(cycles, np.median(errors, axis=0), color=COLOURS[0], linewidth=1.1)
    if level is not None:
        ax.axhline(level, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)))
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plain_log(ax)
    ax.minorticks_off()
    ax.set_xlabel("cycle")
    ax.set_ylabel("RMSE")
    ax.set_title(title, loc="left", fontsize="medium")
    return tidy(ax)


def _finite(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64).ravel()
    return values[np.isfinite(values)]


def _spans_a_decade(values: np.ndarray) -> bool:
    positive = values[values > 0]
    return positive.size > 0 and bool(positive.max() > DECADE * positive.min())


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Put one name at each row, the first above."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
