"""The tables of a case: accuracy beside the literature and the best baseline, and calibration."""

import math
from collections.abc import Sequence

from scoreda.experiments.report_html import Html, element
from scoreda.experiments.report_results import Result, Score, baseline, best, difference, verdict

__all__ = ["calibration_table", "score_table"]

Cell = tuple[str, object]  # label and content


def score_table(found: Sequence[Result], floor: float = math.nan) -> Html:
    """Return how accurate the methods are, beside the floor of the case, and at what cost; the best row is marked."""
    winner, other = best(found), baseline(found)
    return _table([_accuracy(result, result is winner, other, floor) for result in found], marked=winner is not None)


def calibration_table(found: Sequence[Result]) -> Html:
    """Return how well the ensembles of the methods know their errors."""
    return _table([_calibration(result) for result in found], class_="wide dense")


def _table(rows: Sequence[Sequence[Cell]], marked: bool = False, class_: str = "wide") -> Html:
    """Return a table without its empty columns; on a narrow screen the style sheet turns each row into a card."""
    kept = [k for k in range(len(rows[0])) if any(str(row[k][1]) not in ("", "–") for row in rows)]
    head = element("tr", *(element("th", rows[0][k][0], scope="col") for k in kept))
    body = [
        element(
            "tr",
            *(element("td", row[k][1], data_label=row[k][0]) for k in kept),
            class_="best" if marked and row is rows[0] else None,
        )
        for row in rows
    ]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_=class_)


def _accuracy(result: Result, wins: bool, other: Result | None, floor: float) -> list[Cell]:
    score = result.scores
    return [
        ("Method", _method(result, wins)),
        ("Members", element("div", result.members, element("small", _count(len(result.seeds), "seed")))),
        ("Settings", element("span", result.tuning or "defaults", class_="settings")),
        ("RMSE, analysis", _two_lines(result.rmse, "strong")),
        ("Expected", _expected(result)),
        ("Over the floor", _ratio(result.rmse.mean / floor)),
        ("Against best baseline", _against(result, other)),
        ("RMSE while locked", _two_lines(score["rmse_locked"])),
        ("Time lost", _percent(score["lost_fraction"].mean)),
        ("Cycles to lock on", _plain(result.lock_cycles)),
        ("Cycles to relock", _plain(score["relock_cycles"].mean)),
        ("Failed runs", _failed(result)),
        ("Cost", _cost(result)),
    ]


def _calibration(result: Result) -> list[Cell]:
    score = result.scores
    return [
        ("Method", element("strong", result.method)),
        ("Root mean square error", _two_lines(score["rmse_rms_a"])),
        ("RMSE, forecast", _two_lines(score["rmse_f"])),
        ("Bias", _signed(score["bias_a"])),
        ("Spread", _two_lines(score["spread_a"])),
        ("Spread, forecast", _two_lines(score["spread_f"])),
        ("Spread / RMSE", _ratio(score["spread_skill_a"].mean)),
        ("50 % coverage", _percent(score["coverage50_a"].mean)),
        ("90 % coverage", _percent(score["coverage90_a"].mean)),
        ("Rank flatness", _plain(score["rank_flatness"].mean)),
        ("PIT distance", _plain(score["pit_distance"].mean)),
        ("Effective members", _plain(score["ess"].mean)),
        ("CRPS", _two_lines(score["crps_a"])),
        ("CRPS, forecast", _two_lines(score["crps_f"])),
        ("Log score", _two_lines(score["log_score_a"])),
        ("Energy score", _two_lines(score["energy_score_a"])),
        ("Chi-square", _two_lines(score["chi2"])),
        ("Diagnosed R", _two_lines(score["desroziers_r"])),
    ]


def _method(result: Result, wins: bool) -> Html:
    mark = element("span", "best", class_="mark best-mark") if wins else Html("")
    learned = element("small", "learned prior") if result.uses_network else Html("")
    return element("div", element("strong", result.method), " ", mark, learned)


def _two_lines(score: Score, tag: str = "span") -> Html:
    """Return a score with its error below the mean, which keeps columns narrow."""
    if math.isnan(score.mean):
        return Html("–")
    mean, *error = str(score).split(" ± ")
    return element("div", element(tag, mean), *(element("small", f"± {text}", class_="error") for text in error))


def _signed(score: Score) -> Html:
    """Return a difference, of which the sign and the error say more than three digits."""
    if math.isnan(score.mean):
        return Html("–")
    error = [element("small", f"± {score.error:.4f}", class_="error")] if not math.isnan(score.error) else []
    return element("div", f"{score.mean:+.4f}".replace("-", "−"), *error)


def _expected(result: Result) -> Html:
    if math.isnan(result.expected):
        return Html("–")
    mark = verdict(result)
    shown = element("span", mark, class_=f"mark {mark.replace(' ', '-')}") if mark else Html("")
    when = " while locked " if result.expected_locked else " "
    return element("div", f"{result.expected:g}{when}", shown, element("small", result.source))


def _against(result: Result, other: Result | None) -> Html:
    """Return the paired difference to the best baseline."""
    if other is None or result is other:
        return Html("–") if other is None else element("small", "the baseline")
    return _signed(difference(result, other))


def _failed(result: Result) -> Html:
    """Return how many runs diverged or were never locked while scored."""
    kinds = {"diverged": len(result.lost), "never locked": result.astray}
    notes = [f"{number} {kind}" for kind, number in kinds.items() if number]
    small = (element("small", note, class_="lost error") for note in notes)
    return element("div", f"{result.failed} of {len(result.seeds)}", *small)


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


def _plain(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _thousands(count: float) -> str:
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.3g}{prefix}"
    return f"{count:g}"
