"""What a case is and how it came out, in sentences."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from scoreda.experiments.report_results import Result, best

__all__ = ["describe_case", "describe_outcome"]

ERRORS = {
    "gaussian": "Gaussian errors",
    "laplace": "Laplace errors",
    "student_t": "Student-t errors ({df:g} degrees of freedom)",
    "correlated_gaussian": "correlated Gaussian errors",
}
STARTS = {
    "truth": "Ensembles start near the truth.",
    "climatology": "Ensembles start cold, from the model's climate.",
}


def describe_case(attrs: Mapping[str, Any], sizes: Mapping[str, int], settings: Mapping[str, Any]) -> str:
    """Return what is observed, how well and how often.

    Args:
        attrs: Attributes of the twin: `model`, `truth_model`, `operator`, `obs_error` (JSON), `obs_variance`,
            `interval`.
        sizes: Dimensions of the twin.
        settings: The case's section of the configuration; `observations`, `initial`, `burn_in` and `floor` are used
            where given.
    """
    observed = settings.get("observations") or {}
    parts = [
        f"Model: {_model(attrs, sizes)}.",
        _truth(attrs),
        f"{_observed(attrs, sizes)} {_when(attrs, observed)}, {_errors(attrs)}.",
        _assumed(observed.get("assumed")),
        f"{100 * observed['missing']:g} % of the values are lost." if observed.get("missing") else "",
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
    size = f"{sizes['space']} variables" if "space" in sizes else ""
    return _system(json.loads(attrs.get("model", "null")), size)


def _truth(attrs: Mapping[str, Any]) -> str:
    """Return what the truth follows where that is not the model of the methods."""
    return f"The truth follows another: {_system(json.loads(attrs['truth_model']))}." if "truth_model" in attrs else ""


def _system(spec: Mapping[str, Any] | None, size: str = "") -> str:
    """Return a model's name and settings, and what is added to its steps; a user's has no `spec`."""
    spec = spec or {"name": "a user's model"}
    if "error" in spec:
        return f"{_system(spec['model'], size)} with {_settings(spec['error'])} added to each step"
    return _settings(spec, size)


def _settings(spec: Mapping[str, Any], size: str = "") -> str:
    values = {name: value for name, value in spec.items() if name not in ("name", "size")}
    told = ", ".join(filter(None, [size, *(f"{name} {_short(value)}" for name, value in values.items())]))
    return f"{spec['name']} ({told})" if told else spec["name"]


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], list):
        return f"of {len(value)} x {len(value[0])} numbers"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _when(attrs: Mapping[str, Any], observed: Mapping[str, Any]) -> str:
    if observed.get("times"):
        return "at irregular times"
    return f"every {attrs.get('interval', math.nan):g} model time units"


def _observed(attrs: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    spec = json.loads(attrs.get("operator", "null")) or {}
    function, selection = spec.get("function"), spec.get("selection", spec)
    number, size = sizes["obs"], selection.get("state_size")
    every = len(selection.get("sites", [])) == size
    text = f"all {size} variables" if every else f"{number} of {size} variables" if size else f"{number} values"
    text = f"the {function} of {text}" if function else text
    return f"{text[0].upper()}{text[1:]} {'is' if function else 'are'} observed"


def _errors(attrs: Mapping[str, Any]) -> str:
    """Return the distribution of observation errors and their standard deviation, or its range."""
    variance = attrs.get("obs_variance", math.nan)
    variances = variance if hasattr(variance, "__len__") else [variance]
    low, high = (f"{math.sqrt(extreme(variances)):.3g}" for extreme in (min, max))
    spec = json.loads(attrs.get("obs_error", '{"name": "gaussian"}')) or {}
    size = low if low == high else f"{low} to {high}"
    return f"with {_kind(spec.get('name'), spec.get('df'))} of standard deviation {size}"


def _kind(name: str | None, df: float | None) -> str:
    """Return the distribution of errors by its name; a user's own has none that is known."""
    return ERRORS.get(name or "", "errors of a user's kind").format(df=df or 3.0)


def _assumed(errors: Mapping[str, Any] | None) -> str:
    """Return what the methods take the errors for where that is not what they are."""
    if not errors:
        return ""
    kind = _kind(errors.get("error") or "gaussian", errors.get("df"))
    std = errors.get("obs_std") or math.sqrt(errors.get("obs_variance") or math.nan)
    return f"Methods assume {kind}" + ("." if math.isnan(std) else f" of standard deviation {std:.3g}.")


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
