"""What a configuration will take, before anything is run: shapes, parameters, memory, file sizes."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scoreda.experiments.budget import budgets, prior_within, run_bytes
from scoreda.experiments.config import Experiment, Training, resolved
from scoreda.experiments.memory import readable as _size
from scoreda.experiments.training_denoiser import make_denoiser
from scoreda.experiments.tuning import number_of_finals, trials_of
from scoreda.experiments.yaml_source import dump

if TYPE_CHECKING:
    from scoreda.diffusion import Prior

__all__ = ["describe"]


def describe(config: Experiment | Training, memory: float = math.inf) -> str:
    """Return the resolved configuration, and what running it within `memory` bytes takes as YAML comments below.

    What it takes is that of one process, the libraries counted.
    """
    lines = _of_training(config, memory) if isinstance(config, Training) else _of_experiment(config, memory)
    return dump(resolved(config)) + "".join(f"# {line}\n" for line in lines)


def _of_experiment(config: Experiment, memory: float) -> Iterator[str]:
    runs = [run_bytes(case, method, case.length or 0) for case in config.cases.values() for method in case.methods]
    for name, case in config.cases.items():
        size = case.model.build().size
        observed = case.observations.build_operator(size).size
        yield f"{name}: state ({size},), observations ({case.length or 'all in the file'}, {observed})"
        for method in case.methods:
            members = case.members_of(method)
            analysis = f"analysis.nc {_size(run_bytes(case, method, case.length or 0))} for each seed"
            kept = analysis if config.ensembles else "scores alone"
            yield f"{name}, {method}: ensemble ({members}, {size}), {kept}"
    yield f"cells: {len(list(config.cells()))}; files {_size(sum(runs) * len(config.seeds) * config.ensembles)}"
    trials = trials_of(config)
    if trials is not None:
        tuning = config.tuning
        first = f"{len(list(trials.cells()))} cells of up to {tuning.cycles} cycles"
        yield f"tuning: {first}, then {number_of_finals(config)} of up to {tuning.final_cycles}, before that"
    prior = _prior(config)
    yield from _within(memory, config, prior)
    if prior is not None:
        yield f"prior: {config.prior}, {sum(p.numel() for p in prior.denoiser.parameters()):,} parameters"


def _prior(config: Experiment) -> "Prior | None":
    from scoreda.experiments.run import pinned

    return pinned(config)[1]


def _within(memory: float, config: Experiment, prior: "Prior | None") -> Iterator[str]:
    """Yield how every method is run within so many bytes, and what the largest takes."""
    prior_within(config, memory, prior)
    found = list(budgets(config, memory, prior))
    for case, method, budget in found:
        yield from (f"{case}, {method}, {line}" for line in budget.lines())
    yield f"memory: {max((budget for *_, budget in found), key=lambda budget: budget.bytes)}"


def _of_training(config: Training, memory: float) -> Iterator[str]:
    from scoreda.experiments.training_budget import training_plan
    from scoreda.experiments.training_data import sample_shape

    settings = resolved(config)
    shape_of_sample = sample_shape(settings)
    parameters = sum(p.numel() for p in make_denoiser(settings, shape_of_sample).parameters())
    if None in shape_of_sample:
        yield "the file of the data is not there yet: the network is counted as one of a single channel, and no memory"
    yield f"network: {parameters:,} parameters; weights.safetensors {_size(4 * parameters)}"
    if config.system is not None:
        shape = (config.system.trajectories, config.system.states, config.system.model.build().size)
        yield f"archive.nc: states {shape}, {_size(4 * math.prod(shape))}"
        each, channels = _samples_of_trajectory(config)
        yield f"samples: ({round(shape[0] * (1 - config.valid_fraction)) * each}, {channels}, {shape[2]})"
    averages = 1 + len(config.train.ema_extra)
    yield (
        f"training: {config.train.steps:,} steps of {config.train.batch} samples; "
        f"last.pt {_size((12 + 4 * averages) * parameters)}"
    )
    if None not in shape_of_sample:
        plan = training_plan(settings, memory)
        yield from plan.lines(settings, memory)
        yield f"memory: {plan}"


def _samples_of_trajectory(config: Training) -> tuple[int, int]:
    """Return how many samples a trajectory gives, and of how many channels."""
    states, window = config.system.states, config.window  # type: ignore[union-attr]
    return ((states - window.frames) // window.stride + 1, window.frames) if window else (states, 1)
