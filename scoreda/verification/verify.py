"""Scores of a whole run: xarray in, xarray out, a bounded slice of the time axis in memory at once."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from scoreda.errors import ScoredaError
from scoreda.verification import arrays
from scoreda.verification.calibration import SPREAD_EDGES, SpreadSkill, spread_skill
from scoreda.verification.proper_scores import log_score_of_moments
from scoreda.verification.score_kernels import energy_scores, member_statistics
from scoreda.verification.spectra import error_spectrum, spread_spectrum
from scoreda.verification.tracking import locked_cycles

__all__ = ["check_burn_in", "distributions", "rank_counts", "spread_skill_of", "summary", "verify"]

CHUNK_VALUES = 2**19  # ensemble values taken from a run at a time: 4 MB as float64, which the allocator keeps
THINNED_TO = 100  # members that the costly statistics take; they are fair, so that fewer members change no mean
LONG_NAMES = {
    "rmse_a": "RMSE of the analysis mean",
    "rmse_f": "RMSE of the forecast mean",
    "spread_a": "spread of the analysis",
    "spread_f": "spread of the forecast",
    "crps_a": "fair CRPS of the analysis",
    "coverage90_a": "coverage of the central 90 % of the analysis",
    "chi2": "innovation chi-square",
    "bias_a": "bias of the analysis mean",
    "crps_f": "fair CRPS of the forecast",
    "log_score_a": "fair logarithmic score of the Gaussian with the moments of the analysis",
    "energy_score_a": "fair energy score of the analysis",
    "coverage50_a": "coverage of the central 50 % of the analysis",
}


def verify(run: xr.Dataset, burn_in: int = 0, lock_level: float | None = None) -> xr.Dataset:
    """Score every cycle of a run.

    Args:
        run: Dataset with `truth (time, space)`, `analysis (time, member, space)` and, where known, `prior` of the same
            shape and `chi2 (time)`. It may be opened lazily.
        burn_in: First cycles that the summary leaves out; the series keep them.
        lock_level: RMSE at which the method is known to track, for `lock_cycles`.

    Returns:
        Dataset over `time` with `rmse_a, rmse_f, spread_a, spread_f, crps_a, crps_f, bias_a, log_score_a,
        energy_score_a, coverage50_a, coverage90_a, chi2`, NaN where the run has nothing to score. Its attributes are
        `method`, `burn_in` and the `summary`. The energy score takes up to 100 of the members, at equal distances.

    Raises:
        ScoredaError: if the run lacks a variable or `burn_in` leaves no cycle.
    """
    _check(run, burn_in)
    series = {name: np.full(run.sizes["time"], np.nan) for name in LONG_NAMES}
    for part in _chunks(run):
        truth = _truth(run, part)
        found = _analysis_scores(_ensemble(run, "analysis", part), truth)
        if "prior" in run:
            found |= _forecast_scores(_ensemble(run, "prior", part), truth)
        for name, values in found.items():
            series[name][part] = values
    if "chi2" in run:
        series["chi2"][:] = run["chi2"].values
    recorded = {k: ("time", v, {"long_name": LONG_NAMES[k], "units": "1"}) for k, v in series.items()}
    scores = xr.Dataset(recorded, coords={"time": run["time"]})
    scores.attrs = {"method": str(run.attrs.get("method", "")), "burn_in": burn_in}
    scores.attrs |= _summarise(series, burn_in, int(run.attrs.get("diverged", -1)), lock_level)
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
        ranks = arrays.ranks(_ensemble(run, "analysis", part), _truth(run, part), rng)
        counts += arrays.rank_histogram(ranks, members)
    return counts


def distributions(run: xr.Dataset, burn_in: int = 0) -> xr.Dataset:
    """Return what is behind the means over time, from `burn_in` on; small, and enough to draw calibration from.

    Args:
        run: As for `verify`.
        burn_in: First cycles left out.

    Returns:
        Dataset with `rank_counts (rank)`, as from `rank_counts`; `error_spectrum` and `spread_spectrum (wavenumber)`,
        time means, the latter of up to 100 members; and the sums of `SpreadSkill` over bins of `SPREAD_EDGES`,
        `spread_skill (total, bin)`.
    """
    _check(run, burn_in)
    bins = np.zeros((3, len(SPREAD_EDGES) - 1))
    spectra = np.zeros((2, run.sizes["space"] // 2 + 1))
    for part in _chunks(run, burn_in):
        E, x = _ensemble(run, "analysis", part), _truth(run, part)
        bins += np.stack(spread_skill(E, x))
        spectra += np.stack([error_spectrum(E, x).sum(0), spread_spectrum(_thinned(E)).sum(0)])
    error, spread = spectra / (run.sizes["time"] - burn_in)
    return xr.Dataset(
        {
            "rank_counts": ("rank", rank_counts(run, burn_in), {"long_name": "how often the truth has each rank"}),
            "error_spectrum": ("wavenumber", error, {"long_name": "energy of the error of the analysis mean"}),
            "spread_spectrum": ("wavenumber", spread, {"long_name": "ensemble variance of the analysis"}),
            "spread_skill": (("total", "bin"), bins, {"long_name": "count, variance, squared error by spread"}),
        }
    )


def spread_skill_of(statistics: xr.Dataset) -> SpreadSkill:
    """Return the bins that `distributions` counted."""
    return SpreadSkill(*statistics["spread_skill"].values.astype(np.float64))


def _analysis_scores(E: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    mean, variance, crps, low, high = member_statistics(E, x)
    members = E.shape[1]
    scores = _moment_scores(mean, variance, crps, x, "a") | {
        "bias_a": (mean - x).mean(-1),
        "energy_score_a": energy_scores(_thinned(E), x),
        "coverage50_a": arrays.covered(low, high, members, 0.5),
        "coverage90_a": arrays.covered(low, high, members, 0.9),
    }
    if members >= 4:
        scores["log_score_a"] = log_score_of_moments(mean, variance, x, members)
    return scores


def _forecast_scores(E: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    mean, variance, crps, *_ = member_statistics(E, x)
    return _moment_scores(mean, variance, crps, x, "f")


def _moment_scores(
    mean: np.ndarray, variance: np.ndarray, crps: np.ndarray, x: np.ndarray, which: str
) -> dict[str, np.ndarray]:
    """Return error, spread and CRPS of every field; the arguments `(time, Nx)` are those of every variable."""
    return {
        f"rmse_{which}": np.sqrt(((mean - x) ** 2).mean(-1)),
        f"spread_{which}": np.sqrt(variance.mean(-1)),
        f"crps_{which}": crps.mean(-1),
    }


def _thinned(E: np.ndarray) -> np.ndarray:
    """Return every k-th member, at most `THINNED_TO` of them."""
    return np.ascontiguousarray(E[:, :: -(-E.shape[1] // THINNED_TO)])


def _check(run: xr.Dataset, burn_in: int) -> None:
    missing = [name for name in ("truth", "analysis") if name not in run]
    if missing:
        raise ScoredaError(
            f"the run lacks {', '.join(missing)}; it holds {', '.join(map(str, run.data_vars)) or 'nothing'}. "
            "Pass the dataset that `assimilate` returns."
        )
    check_burn_in(run, burn_in)


def check_burn_in(run: xr.Dataset, burn_in: int) -> None:
    """Raise ScoredaError if `burn_in` leaves no cycle."""
    if not 0 <= burn_in < run.sizes["time"]:
        raise ScoredaError(
            f"`burn_in` must leave at least one of the {run.sizes['time']} cycles, got {burn_in}. Pass a smaller one."
        )


def _chunks(run: xr.Dataset, start: int = 0) -> Iterator[slice]:
    length = max(1, CHUNK_VALUES // (run.sizes["member"] * run.sizes["space"]))
    return (slice(k, k + length) for k in range(start, run.sizes["time"], length))


def _ensemble(run: xr.Dataset, name: str, part: slice) -> np.ndarray:
    """Return the ensembles `(time, N, Nx)` of some cycles."""
    return _float64(run[name].isel(time=part).transpose("time", "member", "space"))


def _truth(run: xr.Dataset, part: slice) -> np.ndarray:
    """Return the truth `(time, Nx)` of some cycles."""
    return _float64(run["truth"].isel(time=part).transpose("time", "space"))


def _float64(values: xr.DataArray) -> np.ndarray:
    """Return the values in the memory layout of the kernels, which do not check it."""
    return np.ascontiguousarray(values.values, dtype=np.float64)


def _summarise(
    series: dict[str, np.ndarray], burn_in: int, diverged: int, lock_level: float | None
) -> dict[str, float]:
    scored = {name: values[burn_in:] for name, values in series.items()}
    scored["chi2"] = scored["chi2"][~np.isnan(scored["chi2"])]
    means = {name: float(values.mean()) if values.size else np.nan for name, values in scored.items()}
    lock = np.nan if lock_level is None else _lock_cycle(series["rmse_a"], lock_level)
    return means | {"diverged": diverged, "cycles": scored["rmse_a"].size, "lock_cycles": lock}


def _lock_cycle(rmse: np.ndarray, level: float) -> int:
    """Return the first cycle that is locked, or -1."""
    locked = locked_cycles(rmse, level)
    return int(locked.argmax()) if locked.any() else -1
