"""Score tables: `scores.csv`, and the same for a terminal."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.experiments.folder import write_text

if TYPE_CHECKING:
    import xarray as xr

    from scoreda.observations import ErrorModel
    from scoreda.verification.innovations import Departures

__all__ = ["COLUMNS", "TRIAL_COLUMNS", "read_rows", "score_run", "text_table", "write_rows"]

# Readers may rely on these names and their order: columns are only ever appended.
COLUMNS = (
    "case", "method", "seed", "members", "rmse_a", "rmse_f", "spread_a", "crps_a", "coverage90_a", "chi2", "diverged",
    "cycles", "expected", "source", "spread_f", "tuning", "lock_cycles", "network_evals", "model_steps",
    "rmse_rms_a", "rmse_locked", "lost_fraction", "relock_cycles",
    "bias_a", "crps_f", "log_score_a", "energy_score_a", "coverage50_a", "rmse_a_se", "spread_skill_a", "rank_flatness",
    "desroziers_r", "ess", "pit_distance", "rmse_a_low", "rmse_a_high", "expected_locked",
)  # fmt: skip
TRIAL_COLUMNS = ("case", "method", "trial", "round", "seed", "settings", "rmse_a", "diverged", "chosen", "at_edge")
PART_VALUES = 2**20  # values of an ensemble that are compared with observations at a time
SHOWN = ("case", "method", "members", "rmse_a", "spread_a", "crps_a", "coverage90_a", "expected", "source")


def score_run(
    run: "xr.Dataset", burn_in: int, lock_level: float | None = None, error: "ErrorModel | None" = None
) -> tuple[dict[str, Any], "xr.Dataset | None"]:
    """Return the scores of a run under the names of `COLUMNS`, and what they are the means of.

    Args:
        run: As from `assimilate`; without a truth most scores are undefined.
        burn_in: First cycles that are not scored.
        lock_level: RMSE of the case while tracking, for `rmse_locked`, `lost_fraction` and `relock_cycles`.
        error: What the method took the observation errors for, where that is not in the attributes.

    Returns:
        The row, and the Dataset of `verify` with that of `distributions`; None without a truth.
    """
    from scoreda.verification import distributions, verify

    row = {name: float(run[name].sum()) for name in ("network_evals", "model_steps") if name in run}
    row |= {"ess": _effective_members(run, burn_in)} if "ess" in run else {}
    if "truth" not in run:
        return row | _without_truth(run, burn_in) | _consistency(run, burn_in, error), None
    statistics = verify(run, burn_in, lock_level)
    statistics = statistics.merge(distributions(run, burn_in), combine_attrs="override")
    row |= {name: statistics.attrs[name] for name in COLUMNS if name in statistics.attrs and name != "method"}
    return row | _errors(statistics, burn_in, lock_level) | _consistency(run, burn_in, error), statistics


def _without_truth(run: "xr.Dataset", burn_in: int) -> dict[str, Any]:
    scored = run.isel(time=slice(burn_in, None))
    chi2 = float(scored["chi2"].mean()) if "chi2" in run else math.nan
    return {"chi2": chi2, "diverged": int(run.attrs.get("diverged", -1)), "cycles": scored.sizes["time"]}


def _effective_members(run: "xr.Dataset", burn_in: int) -> float:
    """Return the mean over the scored cycles that had observations; NaN if none had."""
    found = run["ess"].values[burn_in:]
    known = found[~np.isnan(found)]
    return float(known.mean()) if known.size else math.nan


def _errors(statistics: "xr.Dataset", burn_in: int, lock_level: float | None) -> dict[str, float]:
    """Return what one mean of the RMSE hides, and how calibrated the ensemble is."""
    from scoreda.verification import spread_skill_of
    from scoreda.verification.calibration import pit_distance, rank_flatness
    from scoreda.verification.time_means import mean_interval, standard_error
    from scoreda.verification.tracking import tracking

    rmse, ranks = statistics["rmse_a"].values, statistics["rank_counts"].values
    scored = rmse[burn_in:]
    low, high = mean_interval(scored)
    tracked = tracking(rmse, lock_level, burn_in) if lock_level else {}
    return tracked | {
        "rmse_rms_a": float(np.sqrt(np.mean(scored**2))),
        "rmse_a_se": standard_error(scored),
        "spread_skill_a": spread_skill_of(statistics).ratio(statistics.sizes["rank"] - 1),
        "rank_flatness": rank_flatness(ranks),
        "pit_distance": pit_distance(ranks),
        "rmse_a_low": low,
        "rmse_a_high": high,
    }


def _consistency(run: "xr.Dataset", burn_in: int, error: "ErrorModel | None") -> dict[str, float]:
    """Return the diagnosed over the assumed error variance, as far as the observation operator is known.

    Means of squares of Student-t errors hardly converge: chi-square is withdrawn for them, and this not given.
    """
    from scoreda.observations import StudentTError

    if not {"prior", "analysis", "obs"} <= {*run.variables}:
        return {}
    try:
        found = _departures(run, error, burn_in)
    except ScoredaError:
        found = None
    if found is None:
        return {}
    heavy = found.error.name == StudentTError.name
    return {"chi2": math.nan} if heavy else {"desroziers_r": found.error_ratio()}


def _departures(run: "xr.Dataset", error: "ErrorModel | None", burn_in: int) -> "Departures | None":
    """Return the departures of the cycles that have observations, a part of the run in memory at once; None if none."""
    from scoreda.verification.innovations import Departures, departures

    observed = burn_in + np.flatnonzero(~np.isnan(run["obs"].values[burn_in:]).all(-1))
    parts = np.array_split(observed, -(-run["analysis"].size // PART_VALUES))
    found = [departures(run.isel(time=part), error) for part in parts if len(part)]
    if not found:
        return None
    forecast, analysis = (np.concatenate([getattr(part, name) for part in found]) for name in ("forecast", "analysis"))
    return Departures(forecast, analysis, found[0].error)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a CSV file in one step; numbers with six digits, nothing where a value is undefined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_cell(row.get(column)) for column in columns] for row in rows])
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table of runs; none if there is no file.

    Raises:
        ScoredaError: if a row does not say case, method and seed.
    """
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", errors="replace", newline="") as f:
        rows = list(csv.DictReader(f))
    for line, row in enumerate(rows, 2):
        if not (row.get("case") and row.get("method") and (row.get("seed") or "").isdecimal()):
            raise ScoredaError(
                f"{path}:{line}: names no case, method and seed. Remove the damaged file, and the command that made "
                "the run, or `scoreda verify`, writes it again."
            )
    return rows


def text_table(rows: Iterable[dict[str, Any]], columns: Sequence[str] = SHOWN) -> str:
    """Return score rows as aligned text, one line per case and method: means over seeds."""
    cells = [columns, *([_cell(row.get(column), digits=3) for column in columns] for row in _means(rows))]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _means(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["method"]), []).append(row)
    return [{name: _mean([row.get(name) for row in group]) for name in COLUMNS} for group in groups.values()]


def _mean(values: list[Any]) -> Any:
    """Return the mean of numbers, undefined if one of them is, or the first of anything else."""
    if not any(isinstance(value, float) for value in values):
        return values[0]
    return None if None in values else sum(values) / len(values)


def _cell(value: Any, digits: int = 6) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
