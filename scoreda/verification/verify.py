"""Scores of a whole run: xarray in, xarray out, a bounded slice of the time axis in memory at once."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from scoreda.errors import ScoredaError
from scoreda.verification import arrays

__all__ = ["rank_counts", "summary", "verify"]

CHUNK_VALUES = 2**19  # ensemble values taken from a run at a time: 4 MB as float64, which the allocator keeps
LOCKED_FOR = 20  # cycles that the RMSE must stay low before a run counts as locked on
LONG_NAMES = {
    "rmse_a": "RMSE of the analysis mean",
    "rmse_f": "RMSE of the forecast mean",
    "spread_a": "spread of the analysis",
    "spread_f": "spread of the forecast",
    "crps_a": "fair CRPS of the analysis",
    "coverage90_a": "coverage of the central 90 % of the analysis",
    "chi2": "innovation chi-square",
}


def verify(run: xr.Dataset, burn_in: int = 0, lock_level: float | None = None) -> xr.Dataset:
    """Score every cycle of a run.

    Args:
        run: Dataset with `truth (time, space)`, `analysis (time, member, space)` and, where known, `prior` of the same
            shape and `chi2 (time)`. It may be opened lazily.
        burn_in: First cycles that the summary leaves out; the series keep them.
        lock_level: RMSE at which the method is known to track, for `lock_cycles`.

    Returns:
        Dataset over `time` with `rmse_a, rmse_f, spread_a, spread_f, crps_a, coverage90_a, chi2`, NaN where the run has
        nothing to score. Its attributes are `method`, `burn_in` and the `summary`.

    Raises:
        ScoredaError: if the run lacks a variable or `burn_in` leaves no cycle.
    """
    _check(run, burn_in)
    series = {name: np.full(run.sizes["time"], np.nan) for name in LONG_NAMES}
    for part in _chunks(run):
        truth, analysis = run["truth"][part].values, _ensemble(run, "analysis", part)
        series["rmse_a"][part] = arrays.rmse(analysis, truth)
        series["spread_a"][part] = arrays.spread(analysis)
        series["crps_a"][part] = arrays.crps(analysis, truth)
        series["coverage90_a"][part] = arrays.coverage(analysis, truth, 0.9)
        if "prior" in run:
            prior = _ensemble(run, "prior", part)
            series["rmse_f"][part] = arrays.rmse(prior, truth)
            series["spread_f"][part] = arrays.spread(prior)
    if "chi2" in run:
        series["chi2"][:] = run["chi2"].values
    scores = xr.Dataset({k: ("time", v, {"long_name": LONG_NAMES[k], "units": "1"}) for k, v in series.items()})
    scores = scores.assign_coords(time=run["time"])
    scores.attrs = {"method": str(run.attrs.get("method", "")), "burn_in": burn_in}
    scores.attrs |= _summarise(scores, burn_in, int(run.attrs.get("diverged", -1)), lock_level)
    return scores


def summary(run: xr.Dataset, burn_in: int = 0, lock_level: float | None = None) -> dict[str, float]:
    """Return the numbers of one row of a score table; arguments and errors are those of `verify`.

    Every score is the mean over time of its per-cycle value from `burn_in` on: `rmse_a` is the time mean of the RMSE,
    not the root of the time-mean square. `chi2` averages the cycles that had observations. `diverged` is the cycle at
    which the run diverged (-1: never), `cycles` how many were scored, and `lock_cycles` the first cycle, counted from
    the very start, from which `rmse_a` stays below twice `lock_level` for 20 cycles (-1: never; NaN: no level given).
    A score that is undefined in any scored cycle is NaN.
    """
    attrs = verify(run, burn_in, lock_level).attrs
    return {name: attrs[name] for name in (*LONG_NAMES, "diverged", "cycles", "lock_cycles")}


def rank_counts(run: xr.Dataset, burn_in: int = 0, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return the rank histogram of the analysis over all points and cycles from `burn_in` on, `(N + 1,)` counts.

    Args:
        run: As for `verify`.
        burn_in: First cycles left out.
        rng: Breaks ties between truth and members, see `arrays.ranks`.
    """
    _check(run, burn_in)
    members = run.sizes["member"]
    counts = np.zeros(members + 1, dtype=np.int64)
    for part in _chunks(run, burn_in):
        ranks = arrays.ranks(_ensemble(run, "analysis", part), run["truth"][part].values, rng)
        counts += arrays.rank_histogram(ranks, members)
    return counts


def _check(run: xr.Dataset, burn_in: int) -> None:
    missing = [name for name in ("truth", "analysis") if name not in run]
    if missing:
        raise ScoredaError(
            f"the run lacks {', '.join(missing)}; it holds {', '.join(map(str, run.data_vars)) or 'nothing'}. "
            "Pass the dataset that `assimilate` returns."
        )
    if not 0 <= burn_in < run.sizes["time"]:
        raise ScoredaError(
            f"`burn_in` must leave at least one of the {run.sizes['time']} cycles, got {burn_in}. Pass a smaller one."
        )


def _chunks(run: xr.Dataset, start: int = 0) -> Iterator[slice]:
    length = max(1, CHUNK_VALUES // (run.sizes["member"] * run.sizes["space"]))
    return (slice(k, k + length) for k in range(start, run.sizes["time"], length))


def _ensemble(run: xr.Dataset, name: str, part: slice) -> np.ndarray:
    return run[name].isel(time=part).transpose("time", "member", "space").values


def _summarise(scores: xr.Dataset, burn_in: int, diverged: int, lock_level: float | None) -> dict[str, float]:
    scored = scores.isel(time=slice(burn_in, None))
    means = {name: float(scored[name].mean(skipna=name == "chi2")) for name in LONG_NAMES}
    lock = np.nan if lock_level is None else _lock_cycle(scores["rmse_a"].values, 2 * lock_level)
    return means | {"diverged": diverged, "cycles": scored.sizes["time"], "lock_cycles": lock}


def _lock_cycle(rmse: np.ndarray, below: float) -> int:
    """Return the first cycle from which `LOCKED_FOR` values in a row are below, or -1."""
    if len(rmse) < LOCKED_FOR:
        return -1
    locked = np.lib.stride_tricks.sliding_window_view(rmse < below, LOCKED_FOR).all(-1)
    return int(locked.argmax()) if locked.any() else -1
