"""The figures of a benchmark, each with its caption: all methods of a case beside each other."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.experiments.report_results import Result, baseline

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["acquisition_figure", "calibration_figure", "ranking_figure", "summed", "trade_off_figure"]

WIDTH = 9.8  # inches
ROW = 0.25  # inches of a method's row
MOST_LINES = 7  # as many as there are colours
SHOWN_BINS = 12  # of spread, with about as many points in each


def ranking_figure(found: Sequence[Result]) -> tuple["Figure", str]:
    """Draw the RMSE of every method, best first, beside the expected one, and against the best baseline."""
    from scoreda.plotting import ranked

    figure, axes = _axes(1, 1, height=1.0 + ROW * len(found))
    ranked(
        {result.method: list(result.rmse_of.values()) for result in found},
        axes[0],
        expected={result.method: result.expected for result in found},
        errors={result.method: result.rmse.error for result in found},
        label="RMSE of the analysis",
    )
    return figure, (
        "RMSE of the analysis: time mean of every run (light dots), mean over seeds with its standard error (dark), "
        "what is expected (diamonds). Runs that diverged are left out."
    )


def trade_off_figure(found: Sequence[Result]) -> tuple["Figure", str]:
    """Draw the RMSE against the number of members, and against the model steps of a run."""
    from scoreda.plotting import trade_off

    figure, axes = _axes(1, 2, height=3.4, sharey=True)
    names = [result.method for result in found]
    rmse = {result.method: (result.rmse.mean, result.rmse.error) for result in found}
    members = {result.method: float(result.members or "nan") for result in found}
    steps = {result.method: result.scores["model_steps"].mean for result in found}
    trade_off(members, rmse, axes[0], x_label="members", y_label="RMSE of the analysis", names=names)
    trade_off(steps, rmse, axes[1], x_label="model steps of a run, those of each member", y_label="", names=names)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return (
        figure,
        "RMSE against the size of the ensemble, and against cost; methods without model steps are on the left only.",
    )


def acquisition_figure(
    found: Sequence[Result], errors: Mapping[str, np.ndarray], lock_level: float | None
) -> tuple["Figure", str]:
    """Draw how the RMSE falls from the first cycle on, `errors (runs, time)` of every method."""
    from scoreda.plotting import acquisition

    names = [result.method for result in found if result.method in errors]
    other = baseline(found)
    reference = _median(errors[other.method]) if other and other.method in errors else None
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = _axes(rows, columns, height=1.9 * rows, sharex=True, sharey=True)
    for k, (ax, name) in enumerate(zip(axes, names, strict=False)):
        level = None if lock_level is None else 2 * lock_level
        acquisition(errors[name], ax, reference=reference, level=level, title=name)
        _label_outer(ax, k, columns, len(names))
    for ax in axes[len(names) :]:
        ax.remove()
    grey = f", in grey that of {other.method}, the best baseline" if reference is not None and other else ""
    dotted = "; a run is locked below the dotted line" if lock_level is not None else ""
    return figure, (
        "RMSE of the analysis in every cycle from the start: median over seeds and the band between the quartiles"
        f"{grey}{dotted}. A run that diverged counts as infinite."
    )


def _median(errors: np.ndarray) -> np.ndarray:
    """Return the median over runs `(runs, time)`; one that diverged counts as infinite."""
    return np.median(np.where(np.isnan(errors), np.inf, errors), axis=0)


def calibration_figure(found: Sequence[Result], totals: Mapping[str, "xr.Dataset"]) -> tuple["Figure", str]:
    """Draw coverage, spread-skill and spectra of errors from the `summed` distributions of every method."""
    from scoreda.plotting import error_spectra, level_dots, spread_skill_curves

    shown = {result.method: result for result in found if result.method in totals}
    lines = dict(list(totals.items())[:MOST_LINES])
    figure, axes = _axes(1, 3, height=max(3.6, 1.0 + ROW * len(shown)))
    coverage = {name: [result.scores[f"coverage{k}_a"].mean for k in (50, 90)] for name, result in shown.items()}
    level_dots(coverage, (0.5, 0.9), axes[0], label="truths inside")
    spread_skill_curves({name: _curve(total) for name, total in lines.items()}, axes[1])
    error_spectra({name: _spectra(total) for name, total in lines.items()}, axes[2])
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=MOST_LINES)
    best = f"the best {MOST_LINES} methods, " if len(totals) > MOST_LINES else ""
    return figure, (
        "Calibration of the analysis. Left: coverage; calibrated ensembles have their dots on the dashed lines. "
        f"Middle: {best}RMSE of points of equal spread, which is corrected for the size of the ensemble; below the "
        "diagonal the spread is too large, above it too small. Right: energy of error (solid) and spread (dashed) by "
        "wavenumber."
    )


def summed(parts: Sequence["xr.Dataset"]) -> "xr.Dataset":
    """Return the distributions of several runs of one method as one: counts add up, spectra are averaged."""
    from xarray import concat

    names = ["rank_counts", "spread_skill", "error_spectrum", "spread_spectrum"]
    runs = concat([part[names] for part in parts], "run").astype("float64")
    return runs[names[:2]].sum("run").merge(runs[names[2:]].mean("run"))


def _curve(total: "xr.Dataset") -> tuple[np.ndarray, np.ndarray]:
    """Return spread and RMSE of bins that hold about as many points each."""
    from scoreda.verification import spread_skill_of

    bins = spread_skill_of(total)
    share = np.cumsum(bins.points) / max(bins.points.sum(), 1)
    group = np.minimum((SHOWN_BINS * share).astype(int), SHOWN_BINS - 1)
    merged = type(bins)(*(np.bincount(group, values, minlength=SHOWN_BINS) for values in bins))
    spread, skill = merged.curve(total.sizes["rank"] - 1)
    return spread[merged.points > 0], skill[merged.points > 0]


def _spectra(total: "xr.Dataset") -> tuple[np.ndarray, np.ndarray]:
    return total["error_spectrum"].values, total["spread_spectrum"].values


def _label_outer(ax: Any, k: int, columns: int, number: int) -> None:
    """Keep labels at the left and at the last panel of each column."""
    ax.set_ylabel("RMSE" if k % columns == 0 else "")
    ax.set_xlabel("cycle" if k + columns >= number else "")
    ax.tick_params(labelbottom=k + columns >= number)


def _axes(rows: int, columns: int, height: float, **share: Any) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **share).ravel()
