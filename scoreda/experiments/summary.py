"""`summary.csv`: what `scores.csv` says, seeds drawn together, one line per case and method."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scoreda.experiments.report_case import ReportCase
from scoreda.experiments.report_results import Result, baseline, difference, verdict
from scoreda.experiments.scores import read_rows, write_rows

__all__ = ["SUMMARY", "commits", "write_summary"]

LATER = (
    "rmse_rms_a", "rmse_f", "spread_f", "spread_skill_a", "bias_a", "crps_f", "log_score_a", "energy_score_a",
    "coverage50_a", "rank_flatness", "pit_distance", "chi2", "desroziers_r", "ess",
)  # fmt: skip
SUMMARY = (
    "run", "case", "method", "members", "seeds", "failed", "rmse_a", "rmse_a_se", "expected", "mark",
    "against_baseline", "against_baseline_se", "rmse_locked", "lost_fraction", "relock_cycles", "spread_a", "crps_a",
    "coverage90_a", "model_steps", "network_evals", "settings", "source", "floor", "commit",
    "lock_cycles", "expected_locked", *LATER,
)  # fmt: skip
MEANS = (
    "rmse_locked", "lost_fraction", "relock_cycles", "spread_a", "crps_a", "coverage90_a", "model_steps",
    "network_evals", *LATER,
)  # fmt: skip


def write_summary(path: Path, cases: Sequence[ReportCase]) -> None:
    """Write means over seeds, standard errors and marks, the best method of each case first."""
    write_rows(path, SUMMARY, (row for case in cases for row in _rows(case)))


def commits(case: ReportCase, method: str | None = None) -> list[str]:
    """Return the commits that made the runs of a case, or those of one method, as far as they were recorded."""
    rows = [row for row in read_rows(case.files.timings) if row["case"] == case.name]
    return sorted({row["commit"] for row in rows if row.get("commit") and method in (None, row["method"])})


def _rows(case: ReportCase) -> Iterator[dict[str, Any]]:
    other = baseline(case.results)
    for result in case.results:
        known = dict(run=case.files.path.name, case=case.name, floor=case.floor)
        yield known | _row(result, other) | dict(commit=" ".join(commits(case, result.method)))


def _row(result: Result, other: Result | None) -> dict[str, Any]:
    against = {} if other is None or other is result else difference(result, other)._asdict()
    return {name: result.scores[name].mean for name in MEANS} | dict(
        method=result.method,
        members=result.members,
        seeds=len(result.seeds),
        failed=result.failed,
        rmse_a=result.rmse.mean,
        rmse_a_se=result.rmse.error,
        expected=result.expected,
        expected_locked="yes" if result.expected_locked else "",
        mark=verdict(result),
        against_baseline=against.get("mean"),
        against_baseline_se=against.get("error"),
        settings=result.tuning,
        source=result.source,
        lock_cycles=result.lock_cycles,
    )
