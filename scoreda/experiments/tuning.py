"""Tuning: every combination of the values under `tune:`, tried on twins that are used for nothing else.

The trials are an experiment of their own, so they are run, spread over workers and resumed as any other. The
combination with the lowest analysis RMSE, averaged over the seeds of the tuning, is the one that is reported; a trial
that diverges with any seed loses to every one that does not.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scoreda.experiments.config import Case, Experiment
from scoreda.experiments.method_settings import Settings

__all__ = ["TRIAL_COLUMNS", "trial_rows", "trials_of", "tuned"]

TRIAL_COLUMNS = ("case", "method", "trial", "seed", "settings", "rmse_a", "diverged", "chosen")
Rows = Sequence[Mapping[str, Any]]


def trials_of(config: Experiment) -> Experiment | None:
    """Return the experiment that holds every trial; None if nothing is to be tuned."""
    cases = {name: _tried(case, config) for name, case in config.cases.items() if any(_tuned_methods(case))}
    changes = dict(cases=cases, seeds=config.tuning.seeds, twin_per_seed=True, ensembles=False)
    return config.model_copy(update=changes | {"name": f"{config.name}-tuning"}) if cases else None


def tuned(config: Experiment, rows: Rows) -> Experiment:
    """Return the experiment with the best settings of every method.

    Args:
        config: The experiment.
        rows: Scores of the trials. A method of which any is missing is left out: it is not known what is best.
    """
    chosen = {name: dict(_chosen(name, case, config, rows)) for name, case in config.cases.items()}
    cases = {name: case.model_copy(update={"methods": chosen[name]}) for name, case in config.cases.items()}
    return config.model_copy(update={"cases": cases})


def trial_rows(config: Experiment, rows: Rows) -> list[dict[str, Any]]:
    """Return the rows of `tuning.csv`: every trial with every seed, and which one was chosen."""
    found = []
    for name, case in config.cases.items():
        for method, settings in _tuned_methods(case):
            best = _best(name, method, settings, config, rows)
            for trial, values in enumerate(settings.trials()):
                text = " ".join(f"{key}={value}" for key, value in values.items())
                known: dict[str, Any] = dict(case=name, method=method, trial=trial, settings=text)
                known["chosen"] = "yes" if trial == best else ""
                own = (row for row in rows if (row["case"], row["method"]) == (name, _name(method, trial)))
                found += [known | {key: row.get(key) for key in ("seed", "rmse_a", "diverged")} for row in own]
    return found


def _tuned_methods(case: Case) -> Iterator[tuple[str, Settings]]:
    return ((name, settings) for name, settings in case.methods.items() if settings.tune)


def _tried(case: Case, config: Experiment) -> Case:
    """Return the case with every trial as a method, short, and without what the scores of others are."""
    methods = {
        _name(method, trial): settings.changed(values)
        for method, settings in _tuned_methods(case)
        for trial, values in enumerate(settings.trials())
    }
    cycles = min(config.tuning.cycles, case.length or config.tuning.cycles)
    lengths = dict(cycles=cycles, burn_in=min(config.tuning.burn_in, cycles - 1))
    return case.model_copy(update=dict(methods=methods, expected={}) | lengths)


def _name(method: str, trial: int) -> str:
    return f"{method}.trial{trial}"


def _chosen(name: str, case: Case, config: Experiment, rows: Rows) -> Iterator[tuple[str, Settings]]:
    for method, settings in case.methods.items():
        if not settings.tune:
            yield method, settings
        elif (best := _best(name, method, settings, config, rows)) is not None:
            yield method, settings.changed(settings.trials()[best])


def _best(case: str, method: str, settings: Settings, config: Experiment, rows: Rows) -> int | None:
    """Return the number of the best trial, the first of equals; None if any is missing."""
    scores = []
    for trial in range(len(settings.trials())):
        own = [row for row in rows if (row["case"], row["method"]) == (case, _name(method, trial))]
        if {row["seed"] for row in own} != {*config.tuning.seeds}:
            return None
        scores.append(sum(_error(row) for row in own))
    return scores.index(min(scores))


def _error(row: Mapping[str, Any]) -> float:
    return math.inf if row.get("diverged", -1) >= 0 else row.get("rmse_a", math.inf)
