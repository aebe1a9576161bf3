"""The table of a case: seeds drawn together, the literature beside them, the best method first."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scoreda.experiments.report_html import Html, element

__all__ = ["Result", "Score", "best", "results", "score_table", "verdict"]

SCORES = ("rmse_a", "rmse_f", "spread_a", "crps_a", "coverage90_a", "chi2", "network_evals", "model_steps")
TOLERANCE = 0.05  # of the expected value: finite runs of the same method differ by a few per cent
MOST_TOLERANCE = 0.10  # beyond it, large standard errors would make anything "as expected"


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
        locked: For each seed, the cycle from which the method tracked the truth, -1 for never; empty if not asked for.
        locked_rmse: RMSE of the analysis of the runs that locked on, if not all did.
        members, tuning, source: As in `scores.csv`.
        expected: RMSE of the analysis elsewhere; NaN if none is known.
    """

    method: str
    seeds: tuple[str, ...]
    lost: dict[str, int]
    scores: dict[str, Score]
    locked: tuple[int, ...]
    locked_rmse: Score | None
    members: str
    tuning: str
    expected: float
    source: str

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, str]]) -> "Result":
        """Draw the rows of one method, one per seed, together."""
        lost = {row["seed"]: int(row["diverged"]) for row in rows if _number(row, "diverged") >= 0}
        kept = [row for row in rows if row["seed"] not in lost]
        tracked = [row for row in kept if _number(row, "lock_cycles") >= 0]
        asked = any(row.get("lock_cycles") for row in rows)
        first = rows[0]
        return cls(
            method=first["method"],
            seeds=tuple(row["seed"] for row in rows),
            lost=lost,
            scores={name: Score.of(_number(row, name) for row in kept) for name in SCORES},
            locked=tuple(int(float(row["lock_cycles"])) for row in rows if row.get("lock_cycles")),
            locked_rmse=(
                Score.of(_number(row, "rmse_a") for row in tracked) if asked and 0 < len(tracked) < len(kept) else None
            ),
            members=first.get("members", ""),
            tuning=first.get("tuning", ""),
            expected=_number(first, "expected"),
            source=first.get("source", ""),
        )

    @property
    def rmse(self) -> Score:
        """RMSE of the analysis."""
        return self.scores["rmse_a"]

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


def verdict(result: Result) -> str:
    """Return how the RMSE compares with the expected one: "as expected", "better", "worse", or nothing if unknown.

    As expected: within two standard errors, taken as at least 5 % and at most 10 %. A method that lost a run is worse,
    whatever the others scored.
    """
    if math.isnan(result.expected) or (math.isnan(result.rmse.mean) and not result.lost):
        return ""
    error = 0.0 if math.isnan(result.rmse.error) else result.rmse.error
    difference = result.rmse.mean / result.expected - 1
    if result.lost or difference > (tolerance := min(max(TOLERANCE, 2 * error / result.expected), MOST_TOLERANCE)):
        return "worse"
    return "better" if difference < -tolerance else "as expected"


def score_table(found: Sequence[Result]) -> Html:
    """Return the table of a case; on a narrow screen the style sheet turns each row into a card."""
    winner = best(found)
    rows = [_row(result, result is winner, any(r.locked for r in found)) for result in found]
    names = [label for label, _ in _cells(found[0], False, any(r.locked for r in found))]
    head = element("tr", *(element("th", name, scope="col") for name in names))
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="wide")


def _row(result: Result, wins: bool, locks: bool) -> Html:
    cells = [element("td", content, data_label=label) for label, content in _cells(result, wins, locks)]
    return element("tr", *cells, class_="best" if wins else None)


def _cells(result: Result, wins: bool, locks: bool) -> list[tuple[str, object]]:
    """Return label and content of every cell."""
    score = result.scores
    cells: list[tuple[str, object]] = [
        ("Method", _method(result, wins)),
        ("Members", element("div", result.members, element("small", _count(len(result.seeds), "seed")))),
        ("Settings", element("span", result.tuning or "defaults", class_="settings")),
        ("RMSE, analysis", _rmse(result)),
        ("Expected", _expected(result)),
        ("RMSE, forecast", _two_lines(score["rmse_f"])),
        ("Spread", _two_lines(score["spread_a"])),
        ("CRPS", _two_lines(score["crps_a"])),
        ("90 % coverage", _percent(score["coverage90_a"].mean)),
        ("Chi-square", _two_lines(score["chi2"])),
        ("Locked on", _locked(result)),
        ("Cost", _cost(result)),
    ]
    return cells if locks else [cell for cell in cells if cell[0] != "Locked on"]


def _method(result: Result, wins: bool) -> Html:
    mark = element("span", "best", class_="mark best-mark") if wins else Html("")
    learned = element("small", "learned prior") if result.uses_network else Html("")
    return element("div", element("strong", result.method), " ", mark, learned)


def _rmse(result: Result) -> Html:
    notes = []
    if result.lost:
        notes.append(f"diverged in {len(result.lost)} of {len(result.seeds)}")
    if result.locked_rmse is not None:
        notes.append(f"{result.locked_rmse} in the runs that locked on")
    small = [element("small", note, class_="lost") for note in notes]
    return element("div", _two_lines(result.rmse, "strong"), *small)


def _two_lines(score: Score, tag: str = "span") -> Html:
    """Return a score with its error below the mean, which keeps columns narrow."""
    mean, *error = str(score).split(" ± ")
    return element("div", element(tag, mean), *(element("small", f"± {text}", class_="error") for text in error))


def _expected(result: Result) -> Html:
    if math.isnan(result.expected):
        return Html("–")
    mark = verdict(result)
    shown = element("span", mark, class_=f"mark {mark.replace(' ', '-')}") if mark else Html("")
    return element("div", f"{result.expected:g}", " ", shown, element("small", result.source))


def _locked(result: Result) -> Html:
    """Return how many seeds found the truth, and when on average."""
    if not result.locked:
        return Html("–")
    cycles = [cycle for cycle in result.locked if cycle >= 0]
    when = [element("small", f"cycle {sum(cycles) / len(cycles):.0f}")] if cycles else []
    return element("div", f"{len(cycles)} of {len(result.locked)}", *when)


def _cost(result: Result) -> Html:
    """Return model steps and network evaluations of one run, counted per member."""
    units = {"model_steps": "model steps", "network_evals": "network calls"}
    counts = {unit: result.scores[name].mean for name, unit in units.items()}
    shown = [element("div", _thousands(count), element("small", unit)) for unit, count in counts.items() if count > 0]
    return Html("".join(shown)) or Html("–")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _percent(fraction: float) -> str:
    return "–" if math.isnan(fraction) else f"{100 * fraction:.1f} %"


def _thousands(count: float) -> str:
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.3g}{prefix}"
    return f"{count:g}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _number(row: Mapping[str, str], name: str) -> float:
    """Return a cell as a number, NaN if it is empty or not there."""
    return float(row.get(name) or "nan")
