"""Score tables: `scores.csv`, and the same for a terminal."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scoreda.experiments.folder import write_text

__all__ = ["COLUMNS", "read_rows", "score_row", "text_table", "write_rows"]

# Readers may rely on these names and their order: columns are only ever appended.
COLUMNS = (
    "case", "method", "seed", "members", "rmse_a", "rmse_f", "spread_a", "crps_a", "coverage90_a", "chi2", "diverged",
    "cycles", "expected", "source", "spread_f", "tuning", "lock_cycles", "network_evals", "model_steps",
    "rmse_rms_a", "rmse_locked", "lost_fraction", "relock_cycles",
)  # fmt: skip
SHOWN = ("case", "method", "members", "rmse_a", "spread_a", "crps_a", "coverage90_a", "expected", "source")


def score_row(run: Any, burn_in: int, lock_level: float | None = None) -> dict[str, Any]:
    """Return the scores of a run (a Dataset) under the names of `COLUMNS`; without a truth most are undefined.

    `rmse_a` is the time mean of the RMSE, `rmse_rms_a` the root of the time mean of its square. With a `lock_level`,
    `rmse_locked`, `lost_fraction` and `relock_cycles` are those of `scoreda.verification.tracking`.
    """
    from scoreda.verification import verify
    from scoreda.verification.tracking import tracking

    counts = {name: float(run[name].sum()) for name in ("network_evals", "model_steps") if name in run}
    if "truth" in run:
        scores = verify(run, burn_in, lock_level)
        rmse = scores["rmse_a"].values
        counts["rmse_rms_a"] = float(np.sqrt(np.mean(rmse[burn_in:] ** 2)))
        counts |= tracking(rmse, lock_level, burn_in) if lock_level else {}
        return {name: scores.attrs[name] for name in COLUMNS if name in scores.attrs and name != "method"} | counts
    scored = run.isel(time=slice(burn_in, None))
    chi2 = float(scored["chi2"].mean()) if "chi2" in run else math.nan
    return {"chi2": chi2, "diverged": run.attrs.get("diverged", -1), "cycles": scored.sizes["time"]} | counts


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a CSV file in one step; numbers with six digits, nothing where a value is undefined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_cell(row.get(column)) for column in columns] for row in rows])
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file; none if there is no file."""
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


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
