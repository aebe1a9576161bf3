"""Running experiments: every case x method x seed, each experiment into one folder, finished cells skipped.

This process makes the twins and writes the tables; cells run wherever the executor puts them. What is to be tuned is
tuned first. The twin of a case depends on `twin_seed`, and with `twin_per_seed` on the seed.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.experiments.budget import prior_within
from scoreda.experiments.cells import Outcome
from scoreda.experiments.cluster import Execute, here
from scoreda.experiments.config import Experiment, completed, load_config, resolved
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.prior_samples import PRIOR_SAMPLES, write_prior_samples
from scoreda.experiments.scores import TRIAL_COLUMNS, read_rows, write_rows
from scoreda.experiments.sweep import Sweep, run_sweeps
from scoreda.experiments.tuning import finals_of, trial_rows, trials_of, tuned
from scoreda.experiments.twins import make_twins

if TYPE_CHECKING:
    from scoreda.diffusion import Prior

__all__ = ["CellsFailed", "pinned", "run_experiment", "run_experiments", "score_folder"]

TRIAL = 4096  # points of a state that a prior is tried on


class CellsFailed(ScoredaError):
    """Some cells failed; the results of all others are there."""


def run_experiment(
    config: Experiment,
    out: Path | str,
    device: str = "cpu",
    overwrite: bool = False,
    execute: Execute = here,
    memory: float = math.inf,
) -> list[dict[str, Any]]:
    """Run what has not run yet of one experiment; arguments and errors are those of `run_experiments`."""
    return run_experiments([(config, out)], device, overwrite, execute, memory)[0]


def run_experiments(
    jobs: Sequence[tuple[Experiment, Path | str]],
    device: str = "cpu",
    overwrite: bool = False,
    execute: Execute = here,
    memory: float = math.inf,
) -> list[list[dict[str, Any]]]:
    """Run every cell that has not run yet, and write `scores.csv` and `timings.csv` of every experiment.

    Args:
        jobs: What to run, and the folder of each; made if need be.
        device: Where the prior's network runs.
        overwrite: Whether a run that is in a folder, of whatever configuration, is replaced.
        execute: Runs the cells, see `scoreda.experiments.cluster`.
        memory: Bytes that a process may take; within them, runs go to files and the prior's network through tiles, and
            the results are the same.

    Returns:
        The rows of each `scores.csv`.

    Raises:
        ScoredaError: for bad input, before anything is written.
        CellsFailed: at the end, if cells failed.
    """
    pins = [(*pinned(config, device), RunFolder(Path(out))) for config, out in jobs]
    priors = [prior_within(config, memory, prior) for config, prior, _ in pins]
    for (config, _, folder), prior in zip(pins, priors, strict=True):
        make_twins(config, folder, overwrite)
        _sample(prior, config, folder)
    failures, rounds = [], 3 if any(config.tunes() for config, _, _ in pins) else 1
    for number, next_round in enumerate((_trials, _finals), 1):
        found = [sweep for config, _, folder in pins if (sweep := next_round(config, folder, device))]
        failures += run_sweeps(found, execute, memory, f" in round {number} of {rounds}")
    sweeps = [Sweep(_settled(config, folder, device), folder, device) for config, _, folder in pins]
    failures += run_sweeps(sweeps, execute, memory, f" in round {rounds} of {rounds}" if rounds > 1 else "")
    _raise(failures)
    return [sweep.rows() for sweep in sweeps]


def pinned(config: Experiment, device: str = "cpu") -> tuple[Experiment, "Prior | None"]:
    """Return the configuration with the prior's fingerprint, and the prior; None if no method uses one.

    Raises:
        ScoredaError: if the prior cannot be loaded, does not fit a case that needs it, or is not the one that
            `prior_sha256` names.
    """
    if not config.needs_prior():
        return config, None
    from scoreda.diffusion import load_prior

    prior = load_prior(config.prior, device)
    _check_fit(prior, config)
    found = prior.fingerprint()
    if config.prior_sha256 not in (None, found):
        raise ScoredaError(
            f"the prior '{config.prior}' has fingerprint {found}, but `prior_sha256` asks for {config.prior_sha256}. "
            "Give the prior it was run with, or remove `prior_sha256`."
        )
    return config.model_copy(update={"prior_sha256": found}), prior


def _check_fit(prior: "Prior", config: Experiment) -> None:
    """Denoise one state of every case that needs the prior; ScoredaError if it cannot, or gives NaN or Inf."""
    for name, case in config.cases.items():
        if case.needs_prior():
            size = case.model.build().size
            try:
                _denoise_trial(prior, size)
            except ValueError as error:
                raise ScoredaError(
                    f"the prior '{config.prior}' does not fit the case '{name}' of {size} variables: {error}"
                ) from error


def _denoise_trial(prior: "Prior", size: int) -> None:
    from scoreda.datasets.layout import check_finite

    # All but perceptrons take states of any size: no need for the memory of a large one.
    any_size = getattr(prior.denoiser.network, "dimensions", 1)
    states = np.zeros((1, min(size, TRIAL) if any_size else size))
    check_finite(prior.denoise(states, 1.0), "its estimate of a state", fix="Train another.")


def score_folder(out: Path | str) -> list[dict[str, Any]]:
    """Score a run again from its files alone.

    Raises:
        ScoredaError: if the folder holds no run, or lacks the tuning of a method that has scores.
    """
    folder = RunFolder(Path(out))
    if not folder.config.is_file():
        raise ScoredaError(f"{out} holds no run: config.yaml is missing. Give the --out of an earlier run.")
    config = load_config(Experiment, folder.config)
    settled = tuned(config, *_rounds(config, folder))
    known = {(row["case"], row["method"]) for row in read_rows(folder.scores)}
    lost = sorted(known - {(case, method) for case, method, _ in settled.cells()})
    if lost:
        raise ScoredaError(
            f"{out} lacks the tuning of {', '.join(map(' '.join, lost))}, so that the settings are not known. "
            "Give the command that made it once more."
        )
    sweep = Sweep(settled, folder)
    sweep.score_again()
    sweep.write()
    return sweep.rows()


def _sample(prior: "Prior | None", config: Experiment, folder: RunFolder) -> None:
    """Leave samples of the prior for the report, if there is one."""
    if prior is not None and not (folder.path / PRIOR_SAMPLES).is_file():
        model = next(case.model for case in reversed(config.cases.values()) if case.needs_prior()).build()
        write_prior_samples(folder.path, prior, model, seed=config.twin_seed)


def _trials(config: Experiment, folder: RunFolder, device: str) -> Sweep | None:
    """Return the trials of an experiment, their twins made; None if nothing is to be tuned."""
    return _round(trials_of(config), folder.trials, device)


def _finals(config: Experiment, folder: RunFolder, device: str) -> Sweep | None:
    """Return the finals between the best trials, which have run."""
    found = finals_of(config, _rows(trials_of(config), folder.trials, device))
    if found is not None and _of_other_trials(folder.finals, found):
        folder.finals.clear()
    return _round(found, folder.finals, device)


def _of_other_trials(finals: RunFolder, found: Experiment) -> bool:
    """Return whether the finals that are there are none of these."""
    try:
        finals.check(resolved(found), completed=completed)
    except ScoredaError:
        return True
    return False


def _round(config: Experiment | None, folder: RunFolder, device: str) -> Sweep | None:
    """Return a round of the tuning, its twins made; None if there is nothing in it."""
    if config is None:
        return None
    make_twins(config, folder)
    return Sweep(config, folder, device)


def _settled(config: Experiment, folder: RunFolder, device: str = "cpu") -> Experiment:
    """Return the experiment with the best settings of its trials, which are in its folder, and write `tuning.csv`."""
    if not config.tunes():
        return config
    trials, finals = _rounds(config, folder, device)
    write_rows(folder.tuning, TRIAL_COLUMNS, trial_rows(config, trials, finals))
    return tuned(config, trials, finals)


def _rounds(config: Experiment, folder: RunFolder, device: str = "cpu") -> tuple[list[dict[str, Any]], ...]:
    """Return the scores of trials and finals, as far as they have run."""
    trials = _rows(trials_of(config), folder.trials, device)
    return trials, _rows(finals_of(config, trials), folder.finals, device)


def _rows(config: Experiment | None, folder: RunFolder, device: str) -> list[dict[str, Any]]:
    """Return the scores of a round of the tuning, as far as it has run."""
    return Sweep(config, folder, device).rows() if config else []


def _raise(failures: Sequence[Outcome]) -> None:
    if failures:
        lines = [f"{outcome.cell}: {outcome.failure}" for outcome in failures]
        raise CellsFailed("\n".join([f"{len(lines)} cells failed, all others are finished:", *lines]))
