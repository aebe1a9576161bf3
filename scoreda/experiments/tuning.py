"""Tuning in two rounds, on twins that are used for nothing else.

Every combination of the values under `tune:` is tried for a while. The few best then run the case as long as it will be
scored, or nearly: the setting with the lowest error in a short run is often one that loses the truth in a long one. How
much inflation it takes to stay on the truth is what short runs tell least, so finalists differ in it. Of those whose
analysis RMSE, averaged over the seeds of the tuning, is within a standard error of the lowest, the one with the most
inflation is reported: what is as good as can be told, and safer. What diverges with fewer seeds comes before all
others. (Successive halving after Karnin, Koren and Somekh 2013, with one halving; the rule of one standard error
after Breiman, Friedman, Olshen and Stone 1984.)

Both rounds are experiments of their own, so they are run, spread over workers and resumed as any other. What they found
can be taken over, without them, from the table that they leave.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scoreda.errors import ScoredaError
from scoreda.experiments.config import Case, Experiment
from scoreda.experiments.method_settings import Settings
from scoreda.experiments.scores import read_rows

__all__ = ["finals_of", "number_of_finals", "trial_rows", "trials_of", "tuned", "tuned_as"]

Rows = Sequence[Mapping[str, Any]]


def trials_of(config: Experiment) -> Experiment | None:
    """Return the experiment that holds every trial; None if nothing is to be tuned."""
    tuning = config.tuning
    methods = {
        (name, method): list(range(len(settings.trials())))
        for name, case in config.cases.items()
        for method, settings in _tuned_methods(case)
    }
    return _round(config, f"{config.name}-tuning", methods, tuning.cycles, tuning.burn_in)


def finals_of(config: Experiment, trials: Rows) -> Experiment | None:
    """Return the experiment that holds the finalists of every method; None if there are none.

    Args:
        config: The experiment.
        trials: Scores of the trials. A method of which any is missing is left out: it is not known what is best.
    """
    methods = {
        (name, method): best
        for name, case in config.cases.items()
        for method, settings in _tuned_methods(case)
        if (best := _finalists(name, method, settings, config, trials))
    }
    return _round(config, f"{config.name}-finals", methods, config.tuning.final_cycles)


def tuned(config: Experiment, trials: Rows, finals: Rows) -> Experiment:
    """Return the experiment with the best settings of every method.

    Args:
        config: The experiment.
        trials: Scores of the trials.
        finals: Scores of the finalists. A method of which any score is missing is left out.
    """
    chosen = {name: dict(_chosen(name, case, config, trials, finals)) for name, case in config.cases.items()}
    return _with(config, chosen)


def tuned_as(config: Experiment, earlier: Path) -> Experiment:
    """Return the experiment with the settings that an earlier tuning chose, and nothing left to tune.

    Args:
        config: The experiment; the values to tune over may be others than they were, if the chosen ones are among them.
        earlier: The `tuning.csv` of a run, or of several, or the folder that holds it.

    Raises:
        ScoredaError: if it is not there, or has no choice for a method that is to be tuned.
    """
    path = earlier / "tuning.csv" if earlier.is_dir() else earlier
    if not path.is_file():
        raise ScoredaError(f"there is no '{path}'. Give the tuning.csv that `scoreda bench` leaves, or its folder.")
    chosen = {(row["case"], row["method"]): row.get("settings") for row in read_rows(path) if row.get("chosen")}
    methods: dict[str, dict[str, Settings]] = {name: dict(case.methods) for name, case in config.cases.items()}
    lost = []
    for name, case in config.cases.items():
        for method, settings in _tuned_methods(case):
            known = {_text(values): values for values in settings.trials()}
            if (text := chosen.get((name, method))) in known:
                methods[name][method] = settings.changed(known[text])
            else:
                lost.append(f"{name} {method}")
    if lost:
        raise ScoredaError(
            f"'{path}' has no choice among the values under `tune:` for {', '.join(lost)}. Give the tuning.csv of a "
            "run of these configurations, or leave it out to tune them here."
        )
    return _with(config, methods)


def _with(config: Experiment, methods: Mapping[str, Mapping[str, Settings]]) -> Experiment:
    """Return the experiment with other methods in each case."""
    cases = {name: case.model_copy(update={"methods": methods[name]}) for name, case in config.cases.items()}
    return config.model_copy(update={"cases": cases})


def number_of_finals(config: Experiment) -> int:
    """Return how many cells the finals will have."""
    groups = [{*_groups(settings)} for case in config.cases.values() for _, settings in _tuned_methods(case)]
    return sum(min(len(group), config.tuning.finalists) for group in groups) * len(config.tuning.seeds)


def trial_rows(config: Experiment, trials: Rows, finals: Rows) -> list[dict[str, Any]]:
    """Return the rows of `tuning.csv`: every trial with every seed, the finals, and which one was chosen."""
    found = []
    for name, case in config.cases.items():
        for method, settings in _tuned_methods(case):
            best = _best(name, method, settings, config, trials, finals)
            for number, rows in enumerate((trials, finals), 1):
                for trial, values in enumerate(settings.trials()):
                    known: dict[str, Any] = dict(case=name, method=method, trial=trial, round=number)
                    known["settings"] = _text(values)
                    if trial == best:
                        known |= dict(chosen="yes", at_edge=" ".join(_at_edge(settings, values)))
                    scores = _scores(name, method, trial, rows)
                    found += [known | {key: row.get(key) for key in ("seed", "rmse_a", "diverged")} for row in scores]
    return found


def _text(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _at_edge(settings: Settings, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings whose values are the lowest or the highest of three numbers or more: beyond may be better."""
    for name, tried in (settings.tune or {}).items():
        numbers = [value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(tried) > 2 and values[name] in (min(numbers), max(numbers)):
            yield name


def _tuned_methods(case: Case) -> Iterator[tuple[str, Settings]]:
    return ((name, settings) for name, settings in case.methods.items() if settings.tune)


def _round(
    config: Experiment, name: str, methods: Mapping[tuple[str, str], list[int]], cycles: int, burn_in: int | None = None
) -> Experiment | None:
    """Return the experiment that runs the given trials of each method of each case, by default with its own burn-in."""
    cases: dict[str, Case] = {}
    for key, case in config.cases.items():
        tried = {
            _name(method, trial): settings.changed(settings.trials()[trial])
            for method, settings in _tuned_methods(case)
            for trial in methods.get((key, method), [])
        }
        length = min(cycles, case.length or cycles)
        start = min(case.burn_in if burn_in is None else burn_in, length // 2)
        # What the scores of others are is of no interest here.
        changes = dict(methods=tried, expected={}, cycles=length, burn_in=start)
        cases |= {key: case.model_copy(update=changes)} if tried else {}
    changes = dict(name=name, cases=cases, seeds=config.tuning.seeds, twin_per_seed=True, ensembles=False)
    return config.model_copy(update=changes) if cases else None


def _name(method: str, trial: int) -> str:
    return f"{method}.trial{trial}"


def _chosen(name: str, case: Case, config: Experiment, trials: Rows, finals: Rows) -> Iterator[tuple[str, Settings]]:
    for method, settings in case.methods.items():
        if not settings.tune:
            yield method, settings
        elif (best := _best(name, method, settings, config, trials, finals)) is not None:
            yield method, settings.changed(settings.trials()[best])


def _best(case: str, method: str, settings: Settings, config: Experiment, trials: Rows, finals: Rows) -> int | None:
    """Return the number of the trial that is reported, the first of equals; None if anything is missing."""
    finalists = _finalists(case, method, settings, config, trials)
    ranked = _ranked(case, method, sorted(finalists), config, finals)
    if not ranked:
        return None
    if "inflation" not in (settings.tune or {}):
        return ranked[0]
    found = {trial: _mean_error(_scores(case, method, trial, finals)) for trial in ranked}
    lowest, error = found[ranked[0]]
    near = [trial for trial in ranked if found[trial][0] <= lowest + error < math.inf] or ranked[:1]
    return max(near, key=_groups(settings).__getitem__)


def _finalists(case: str, method: str, settings: Settings, config: Experiment, trials: Rows) -> list[int]:
    """Return the numbers of the best trials, one for each inflation that was tried; none if any is missing."""
    groups = _groups(settings)
    best: dict[float, int] = {}
    for trial in _ranked(case, method, range(len(groups)), config, trials):
        best.setdefault(groups[trial], trial)
    return list(best.values())[: config.tuning.finalists]


def _groups(settings: Settings) -> list[float]:
    """Return the inflation of every trial, or its number: of trials alike in that, the best runs on."""
    return [values.get("inflation", trial) for trial, values in enumerate(settings.trials())]


def _ranked(case: str, method: str, numbers: Sequence[int], config: Experiment, rows: Rows) -> list[int]:
    """Return trials by how often they diverged, then by the error of their other runs, the first of equals first.

    There is none if any has not run with every seed.
    """
    errors = {}
    for trial in numbers:
        own = _scores(case, method, trial, rows)
        if {row["seed"] for row in own} != {*config.tuning.seeds}:
            return []
        finite = [error for error in map(_error, own) if error < math.inf]
        errors[trial] = len(own) - len(finite), sum(finite)
    return sorted(errors, key=errors.__getitem__)


def _scores(case: str, method: str, trial: int, rows: Rows) -> Rows:
    return [row for row in rows if (row["case"], row["method"]) == (case, _name(method, trial))]


def _mean_error(rows: Rows) -> tuple[float, float]:
    """Return the mean error over seeds, and its standard error as that of time means."""
    errors = [row.get("rmse_a_se", 0.0) for row in rows]
    return sum(map(_error, rows)) / len(rows), math.hypot(*errors) / len(rows)


def _error(row: Mapping[str, Any]) -> float:
    return math.inf if row.get("diverged", -1) >= 0 else row.get("rmse_a", math.inf)
