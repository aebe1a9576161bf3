"""How an experiment stays within a budget of memory: what a cell takes, and what goes to a file or through tiles.

Forecast and analysis of a run, and the network of the prior, are what can do with less: a run that does not fit is
written to its file cycle by cycle, and the network is evaluated in tiles in what is left.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from scoreda.errors import ScoredaError
from scoreda.experiments.case import Case
from scoreda.experiments.memory import (
    AS_FILE,
    IN_SAMPLER,
    LIBRARIES,
    TORCH,
    network_bytes,
    readable,
    tiles_in_words,
    weights_bytes,
)
from scoreda.experiments.tuning import trials_of

if TYPE_CHECKING:
    from scoreda.diffusion import Prior
    from scoreda.diffusion.networks import Tiling
    from scoreda.experiments.config import Experiment

__all__ = ["UNLIMITED", "Budget", "budget_of", "budgets", "prior_within", "run_bytes"]

DOUBLE = 8
NETWORK = 64e6  # bytes that a network gets before a run is held in memory: larger tiles are hardly faster
SCORES = 20e6  # bytes of the cycles that are scored at a time, and of what is made of them
DRAWN = 500  # states of the prior, and of the climate, that every run leaves for its report

# What a step of a method holds at a time, in numbers of double precision, as measured.
ENSEMBLES, LAGGED = 12, 3  # for every member and variable; and for each observation time of a smoother's lag
NEAR = 64  # for every observation and grid point of the radius, those of the network before it among them
CLIMATE, COVARIANCES = 4 * 4000, 2  # for every variable, and pair of them: a climatology, and the one before it
MATRICES = {  # for every pair of variables
    "enkf": 6, "denkf": 6, "bootstrap_pf": 5, "optimal_pf": 8, "oi": 5, "persistence": 5, "3dvar": 7, "4dvar": 17,
    "extended_kalman": 8, "coupled_score_filter": 12, "score4d": 40,
}  # fmt: skip
TAPERED = {"enkf", "denkf"}  # those that make matrices only to localise them
IN_PARTS = {"letkf": 2**14}  # observations whose neighbours are in memory at once


class Budget(NamedTuple):
    """How a cell is run.

    Attributes:
        parts: Bytes at a time, by what they are for.
        streamed: Bytes of the run, if it goes to a file cycle by cycle; otherwise 0.
        for_network: Bytes for the network of the prior; infinite without a limit.
        tiling: How the network is evaluated; None without one, or without a limit.
        states: How many states it is given at a time.
    """

    parts: dict[str, float]
    streamed: float = 0.0
    for_network: float = math.inf
    tiling: "Tiling | None" = None
    states: int = 0

    def of_prior(self, prior: "Prior") -> "Prior":
        """Return the prior with its network within the budget."""
        return prior if math.isinf(self.for_network) else prior.within(int(self.for_network))

    @property
    def bytes(self) -> float:
        """All parts together."""
        return sum(self.parts.values())

    def lines(self) -> Iterator[str]:
        """Yield what is done to stay within it, in words."""
        if self.streamed:
            yield f"run: {readable(self.streamed)}, streamed to a file cycle by cycle"
        if self.tiling:
            yield f"network: {tiles_in_words(self.tiling, self.states)}"

    def __str__(self) -> str:
        """Return the sum and the parts in words."""
        parts = ", ".join(f"{readable(size)} of {name}" for name, size in self.parts.items() if size)
        return f"at most {readable(self.bytes)}: {parts}"


UNLIMITED = Budget({})


def budgets(config: "Experiment", memory: float, prior: "Prior | None") -> Iterator[tuple[str, str, Budget]]:
    """Yield case, method and how its cells are run within `memory` bytes, counted even if these are infinite.

    Errors are those of `budget_of`.
    """
    load = None if prior is None else partial(lambda loaded: loaded, prior)
    for name, case in config.cases.items():
        cycles = case.length or _cycles_of_file(case)
        for method in case.methods:
            yield name, method, _planned(case, method, cycles, memory, load)


def budget_of(
    case: Case, method: str, cycles: int, memory: float, prior: "Callable[[], Prior] | None" = None
) -> Budget:
    """Return how a cell is run within `memory` bytes; without a limit nothing is counted.

    Args:
        case: Of the cell.
        method: Its name in the case.
        cycles: Observation times.
        memory: Infinite without a limit.
        prior: Loads the learned prior; None if no method of the experiment uses it.

    Raises:
        ScoredaError: if the libraries and what the method computes with, or one tile of the network, do not fit.
    """
    return UNLIMITED if math.isinf(memory) else _planned(case, method, cycles, memory, prior)


def _planned(case: Case, method: str, cycles: int, memory: float, prior: "Callable[[], Prior] | None") -> Budget:
    """Return how a cell is run, and what it takes, as `budget_of` does."""
    run, parts = run_bytes(case, method, cycles), _libraries(prior) | _fixed(case, method)
    in_memory = {"the twin": _twin_bytes(case, cycles), "the run": run}
    learned = prior is not None and _learned(case, method)
    held = sum(parts.values()) + sum(in_memory.values()) + NETWORK * learned <= memory
    departures = {"the departures": _departures_bytes(case, cycles)}
    budget = Budget(parts | (in_memory if held else departures), streamed=run * (not held))
    _check(budget, memory, method)
    if prior is None or not learned:
        return budget
    size, members = case.model.build().size, case.members_of(method)
    # Score-4D takes the derivative of the network by every variable at once.
    whole = case.methods[method].kind == "score4d"
    return _with_network(budget, memory, method, prior(), size, size if whole else members, whole)


def prior_within(config: "Experiment", memory: float, prior: "Prior | None") -> "Prior | None":
    """Return the prior as it is sampled for the report within `memory` bytes.

    Raises:
        ScoredaError: if that, or a cell of the experiment, does not fit.
    """
    if math.isinf(memory):
        return prior
    for experiment in filter(None, (config, trials_of(config))):
        list(budgets(experiment, memory, prior))
    if prior is None:
        return None
    size, what = max(case.model.build().size for case in config.cases.values()), "samples of the prior"
    parts = _libraries(prior) | {what: DRAWN * size * float(AS_FILE + IN_SAMPLER + ENSEMBLES * DOUBLE)}
    return _with_network(Budget(parts), memory, what, prior, size, DRAWN).of_prior(prior)


def run_bytes(case: Case, method: str, cycles: int) -> float:
    """Return the size of forecast and analysis of one cell in single precision."""
    return 2 * 4.0 * cycles * case.members_of(method) * case.model.build().size


def _libraries(prior: object | None) -> dict[str, float]:
    return {"libraries": LIBRARIES + TORCH * (prior is not None)}


def _twin_bytes(case: Case, cycles: int) -> float:
    """Return the bytes of truth and observations in memory, with the copies that are made of them."""
    size = case.model.build().size
    return 2.0 * DOUBLE * cycles * (size + case.observations.build_operator(size).size)


def _departures_bytes(case: Case, cycles: int) -> float:
    """Return the bytes of the departures of forecast and analysis, which are joined to be judged."""
    return 4.0 * DOUBLE * cycles * case.observations.build_operator(case.model.build().size).size


def _fixed(case: Case, method: str) -> dict[str, float]:
    """Return the bytes of a cell besides libraries, twin, run and network."""
    settings, members, size = case.methods[method], case.members_of(method), case.model.build().size
    observed, radius = case.observations.build_operator(size).size, getattr(settings, "radius", None)
    near = 0.0 if radius is None else (radius + 1) * min(observed, IN_PARTS.get(settings.kind, observed))
    dense = 0 if settings.kind in TAPERED and radius is None else MATRICES.get(settings.kind, 0)
    ensembles = members * size * (ENSEMBLES + LAGGED * getattr(settings, "lag", 0))
    climate = "climatology" in settings.uses().values()
    numbers = {
        "the climatology": climate * (CLIMATE * size + COVARIANCES * size**2),
        "the method": ensembles + NEAR * near + dense * size**2,
    }
    found = {name: DOUBLE * float(number) for name, number in numbers.items()}
    found["the method"] += _learned(case, method) * IN_SAMPLER * members * size
    return found | {"the scores": SCORES}


def _learned(case: Case, method: str) -> bool:
    return "prior" in case.methods[method].uses().values()


def _with_network(
    budget: Budget, memory: float, what: str, prior: "Prior", size: int, batch: int, differentiated: bool = False
) -> Budget:
    """Return a budget with what is left of it for the network, which is given `batch` states of `size` points.

    Without a limit the network is counted as a whole.
    """
    # Twice: one is kept to be sampled for the report, another by the process that runs the cells.
    budget = budget._replace(parts=budget.parts | {"the weights": 2.0 * weights_bytes(prior)})
    _check(budget, memory, what)
    left, shape = memory - budget.bytes, (prior.channels or 1, size)
    if math.isinf(left):
        whole = network_bytes(prior, batch, shape, differentiated)
        return budget._replace(parts=budget.parts | {"the network": whole})
    try:
        network = prior.within(int(left)).denoiser.network
        tiling = network.tiling(shape, prior.dtype.itemsize, differentiated)  # type: ignore[operator]
    except ValueError as error:
        raise ScoredaError(f"{what}: {error} All else takes {budget}. Give more --memory.") from error
    states = min(tiling.members, batch)
    parts = budget.parts | {"the network": states * tiling.bytes}
    return budget._replace(parts=parts, for_network=left, tiling=tiling, states=states)


def _check(budget: Budget, memory: float, what: str) -> None:
    """Raise ScoredaError if a budget is larger than the memory."""
    if budget.bytes > memory:
        raise ScoredaError(
            f"{what}: --memory {readable(memory)} is too little even if runs go to files. It takes {budget}. "
            f"Give --memory {math.ceil(budget.bytes / 1e6)}MB, or take fewer members or variables."
        )


def _cycles_of_file(case: Case) -> int:
    from scoreda.datasets import open_dataset

    with open_dataset(case.observations.file or "", needs=("obs", "time")) as ds:
        return ds.sizes["time"]
