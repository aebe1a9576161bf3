"""The results of a case: seeds drawn together, the literature beside them, the best method first."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Result", "Score", "baseline", "best", "difference", "number", "results", "verdict"]

SCORES = (
    "rmse_a", "rmse_rms_a", "rmse_f", "spread_a", "spread_f", "crps_a", "crps_f", "coverage50_a", "coverage90_a",
    "chi2", "bias_a", "log_score_a", "energy_score_a", "spread_skill_a", "rank_flatness", "desroziers_r",
    "network_evals", "model_steps", "ess", "pit_distance",
)  # fmt: skip
TRACKING = ("rmse_locked", "lost_fraction", "relock_cycles")
TOLERANCE = 0.05  # of the expected value: finite runs of the same method differ by a few per cent
MOST_TOLERANCE = 0.10  # beyond it, large standard errors would make anything meet what is expected


class Score(NamedTuple):
    """A mean over seeds and its standard error (NaN for one seed)."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Score":
        """Return the score of the values that are defined; NaN if none is."""
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return cls(math.nan, math.nan)
        mean = sum(known) / len(known)
        if len(known) == 1:
            return cls(mean, math.nan)
        variance = sum((value - mean) ** 2 for value in known) / (len(known) - 1)
        return cls(mean, math.sqrt(variance / len(known)))

    def __str__(self) -> str:
        """Return the mean in three digits, and the error in as many decimals, or one more if it would vanish."""
        if math.isnan(self.mean):
            return "–"
        decimals = max(0, 2 - _exponent(self.mean))
        if math.isnan(self.error):
            return f"{self.mean:.{decimals}f}"
        decimals += round(self.error, decimals) == 0
        return f"{self.mean:.{decimals}f} ± {self.error:.{decimals}f}"


@dataclass(frozen=True)
class Result:
    """One method on one case.

    Attributes:
        method: Its name in the configuration.
        seeds: Seeds that were run.
        lost: Seed and cycle of the runs that diverged; the scores are means over the others.
        scores: By column of `scores.csv`.
        locked: Of every run that did not diverge, the cycle from which it tracked the truth, -1 for never; empty if not
            asked for.
        astray: How many runs did not diverge but were not locked in any scored cycle.
        rmse_of: RMSE of the analysis by seed, of the runs that did not diverge.
        members, tuning, source: As in `scores.csv`.
        expected: RMSE of the analysis elsewhere; NaN if none is known.
        expected_locked: Whether that leaves out the cycles in which the filter had lost the truth.
    """

    method: str
    seeds: tuple[str, ...]
    lost: dict[str, int]
    scores: dict[str, Score]
    locked: tuple[int, ...]
    astray: int
    rmse_of: dict[str, float]
    members: str
    tuning: str
    expected: float
    expected_locked: bool
    source: str

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, str]]) -> "Result":
        """Draw the rows of one method, one per seed, together."""
        lost = {row["seed"]: int(row["diverged"]) for row in rows if number(row, "diverged") >= 0}
        kept = [row for row in rows if row["seed"] not in lost]
        first = rows[0]
        return cls(
            method=first["method"],
            seeds=tuple(row["seed"] for row in rows),
            lost=lost,
            scores=_scores(rows, kept),
            locked=tuple(int(float(row["lock_cycles"])) for row in kept if row.get("lock_cycles")),
            astray=sum(number(row, "lost_fraction") == 1 or number(row, "lock_cycles") < 0 for row in kept),
            rmse_of={row["seed"]: number(row, "rmse_a") for row in kept if row.get("rmse_a")},
            members=first.get("members", ""),
            tuning=first.get("tuning", ""),
            expected=number(first, "expected"),
            expected_locked=first.get("expected_locked") == "yes",
            source=first.get("source", ""),
        )

    @property
    def rmse(self) -> Score:
        """RMSE of the analysis."""
        return self.scores["rmse_a"]

    @property
    def compared(self) -> Score:
        """What stands beside the expected one."""
        return self.scores["rmse_locked"] if self.expected_locked else self.rmse

    @property
    def failed(self) -> int:
        """How many runs diverged, or were not locked in any scored cycle."""
        return len(self.lost) + self.astray

    @property
    def lock_cycles(self) -> float:
        """Mean cycle from which the runs that ever tracked the truth did so; NaN if none did, or it was not asked."""
        return Score.of(cycle for cycle in self.locked if cycle >= 0).mean

    @property
    def uses_network(self) -> bool:
        """Whether the method evaluated the learned prior."""
        return self.scores["network_evals"].mean > 0


def results(rows: Iterable[Mapping[str, str]]) -> list[Result]:
    """Return one result per method, those that never diverged first, then by RMSE."""
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["method"], []).append(row)
    found = [Result.of(group) for group in groups.values()]
    return sorted(found, key=lambda r: (bool(r.lost), math.isnan(r.rmse.mean), r.rmse.mean))


def best(found: Sequence[Result]) -> Result | None:
    """Return the first of sorted results if it has a score."""
    return found[0] if found and not math.isnan(found[0].rmse.mean) else None


def baseline(found: Sequence[Result]) -> Result | None:
    """Return the best of sorted results that does without the learned prior; None if none has a score."""
    return best([result for result in found if not result.uses_network])


def difference(result: Result, other: Result) -> Score:
    """Return the RMSE minus that of another method, paired by seed: both ran on the same truth and observations.

    What one twin makes harder for both cancels, so the standard error is that of the difference alone. Seeds with which
    one of them diverged are left out.
    """
    common = result.rmse_of.keys() & other.rmse_of.keys()
    return Score.of(result.rmse_of[seed] - other.rmse_of[seed] for seed in sorted(common))


def verdict(result: Result) -> str:
    """Return how the RMSE compares with the expected one: "meets", "better", "falls short", or nothing if unknown.

    Meets: within two standard errors, taken as at least 5 % and at most 10 %. A method that lost a run falls
    short, whatever the others scored. Where the expected one is of the time while locked, so is the RMSE, and a run
    that never was locked is lost.
    """
    found, lost = result.compared, result.failed if result.expected_locked else len(result.lost)
    if math.isnan(result.expected) or (math.isnan(found.mean) and not lost):
        return ""
    error = 0.0 if math.isnan(found.error) else found.error
    difference = found.mean / result.expected - 1
    if lost or difference > (tolerance := min(max(TOLERANCE, 2 * error / result.expected), MOST_TOLERANCE)):
        return "falls short"
    return "better" if difference < -tolerance else "meets"


def _scores(rows: Sequence[Mapping[str, str]], kept: Sequence[Mapping[str, str]]) -> dict[str, Score]:
    """Return the score of every column: of the runs that did not diverge, tracking of all of them.

    The error of the RMSE of a single run is that of its time mean, in which successive cycles are not independent.
    """
    scores = {name: Score.of(number(row, name) for row in kept) for name in SCORES}
    scores |= {name: Score.of(number(row, name) for row in rows) for name in TRACKING}
    if len(kept) == 1:
        scores["rmse_a"] = Score(scores["rmse_a"].mean, number(kept[0], "rmse_a_se"))
    return scores


def number(row: Mapping[str, str], name: str) -> float:
    """Return a cell as a number, NaN if it is empty or not there."""
    return float(row.get(name) or "nan")


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0
