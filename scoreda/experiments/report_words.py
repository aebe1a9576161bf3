"""What a case is and how it came out, in sentences."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from scoreda.experiments.report_results import Result, best

__all__ = ["describe_case", "describe_outcome"]

STARTS = {
    "truth": "Ensembles start near the truth.",
    "climatology": "Ensembles start cold, from the model's climate.",
}


def describe_case(attrs: Mapping[str, Any], sizes: Mapping[str, int], settings: Mapping[str, Any]) -> str:
    """Return what is observed, how well and how often.

    Args:
        attrs: Attributes of the twin: `model`, `operator` (JSON), `obs_variance`, `interval`.
        sizes: Dimensions of the twin.
        settings: The case's section of the configuration; `initial`, `burn_in` and `floor` are used where given.
    """
    parts = [
        f"Model: {_model(attrs, sizes)}.",
        f"{_observed(attrs, sizes)} every {attrs.get('interval', math.nan):g} model time units, {_errors(attrs)}.",
        STARTS.get(settings.get("initial", {}).get("kind"), ""),
        f"{sizes['time']} cycles{_burn_in(settings)}.",
        _floor(settings),
    ]
    return " ".join(filter(None, parts))


def describe_outcome(found: Sequence[Result]) -> str:
    """Return who is best, how the learned prior compares with the methods without it, and who was lost."""
    winner = best(found)
    parts = [f"{winner.method} has the lowest analysis RMSE, {winner.rmse}." if winner else "No method has a score."]
    parts += _learned_against_classical(found)
    parts += [_lost(result) for result in found if result.lost]
    return " ".join(parts)


def _model(attrs: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    spec = json.loads(attrs.get("model", "null")) or {"name": "a user's model"}
    settings = ", ".join(f"{name} {value}" for name, value in spec.items() if name not in ("name", "size"))
    size = f"{sizes['space']} variables" if "space" in sizes else ""
    return f"{spec['name']} ({', '.join(filter(None, [size, settings]))})"


def _observed(attrs: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    spec = json.loads(attrs.get("operator", "null")) or {}
    function, selection = spec.get("function"), spec.get("selection", spec)
    number, size = sizes["obs"], selection.get("state_size")
    every = len(selection.get("sites", [])) == size
    text = f"all {size} variables" if every else f"{number} of {size} variables" if size else f"{number} values"
    text = f"the {function} of {text}" if function else text
    return f"{text[0].upper()}{text[1:]} {'is' if function else 'are'} observed"


def _errors(attrs: Mapping[str, Any]) -> str:
    """Return the observation errors' standard deviation, or its range."""
    variance = attrs.get("obs_variance", math.nan)
    variances = variance if hasattr(variance, "__len__") else [variance]
    low, high = (f"{math.sqrt(extreme(variances)):.3g}" for extreme in (min, max))
    return f"with error standard deviation {low}" if low == high else f"with error standard deviations {low} to {high}"


def _burn_in(settings: Mapping[str, Any]) -> str:
    return f", scored after the first {settings['burn_in']}" if settings.get("burn_in") else ""


def _floor(settings: Mapping[str, Any]) -> str:
    floor = settings.get("floor")
    return f"Floor: {floor['rmse_a']:g} ({floor['source']})." if floor else ""


def _learned_against_classical(found: Sequence[Result]) -> list[str]:
    """Return one sentence if both kinds have a result that never diverged."""
    scored = [result for result in found if not result.lost and not math.isnan(result.rmse.mean)]
    learned = next((result for result in scored if result.uses_network), None)
    classical = next((result for result in scored if not result.uses_network), None)
    if learned is None or classical is None:
        return []
    change = 100 * (learned.rmse.mean / classical.rmse.mean - 1)
    side = "below" if change < 0 else "above"
    return [
        f"With the learned prior, {learned.method} reaches {learned.rmse}: {abs(change):.0f} % {side} "
        f"{classical.method}, the best method without it ({classical.rmse})."
    ]


def _lost(result: Result) -> str:
    when = ", ".join(f"seed {seed} at cycle {cycle}" for seed, cycle in result.lost.items())
    others = "its scores are means over the other seeds" if len(result.lost) < len(result.seeds) else "it has no score"
    return f"{result.method} diverged in {len(result.lost)} of {len(result.seeds)} runs ({when}); {others}."
