"""One cell of an experiment: a method, on the twin of a case, with a seed. It runs anywhere, from its settings alone.

Whatever a cell draws comes from its seed, its case and its method, so cells may run in any order and on any machine,
and one more method changes nothing about the others. A cell writes its own files and no other.
"""

import hashlib
import json
import math
import time
import zlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.experiments.budget import UNLIMITED, Budget, budget_of
from scoreda.experiments.case import Case
from scoreda.experiments.folder import DESCRIPTIVE, RunFolder, write_text
from scoreda.experiments.method_settings import Parts
from scoreda.experiments.scores import score_run
from scoreda.experiments.streaming import Run, held, streamed

if TYPE_CHECKING:
    import xarray as xr

    from scoreda.datasets import Climatology
    from scoreda.diffusion import Prior

__all__ = ["Cell", "Outcome", "generator", "parts_of", "run_cell"]


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: scores under the names of `COLUMNS`, seconds and commit of the run; or why it failed."""

    cell: "Cell"
    row: dict[str, Any] = field(default_factory=dict)
    seconds: float = math.nan
    failure: str = ""
    commit: str = ""


@dataclass(frozen=True, eq=False)
class Cell:
    """Everything that a process needs to run a cell; `settings` is its case, with this method alone."""

    folder: RunFolder
    case: str
    method: str
    seed: int
    settings: Case
    twin: Path
    twin_seed: int
    prior: str
    prior_sha256: str | None
    ensembles: bool = True
    device: str = "cpu"

    def __str__(self) -> str:
        """Return case, method and seed."""
        return f"{self.case}, {self.method}, seed {self.seed}"

    @property
    def members(self) -> int:
        """The ensemble size."""
        return self.settings.members_of(self.method)

    @property
    def cost(self) -> int:
        """A rough measure of the work: members times cycles."""
        return self.members * (self.settings.length or 1)

    @property
    def analysis(self) -> Path:
        """Where the ensembles go, if they are kept."""
        return self.folder.analysis(self.case, self.method, self.seed)

    @property
    def series(self) -> Path:
        """Where the scores of every cycle go, and what is counted over cycles."""
        return self.result.with_name("series.nc")

    @property
    def result(self) -> Path:
        """Where the scores go."""
        return self.folder.result(self.case, self.method, self.seed)

    def content(self) -> dict[str, Any]:
        """Return everything that the result depends on."""
        settings = self.settings.model_dump(mode="json", exclude_none=True, exclude=set(DESCRIPTIVE))
        seeds = dict(seed=self.seed, twin_seed=self.twin_seed, own_twin=self.twin != self.folder.twin(self.case))
        learned = "prior" in self.settings.methods[self.method].uses().values()
        prior = self.prior_sha256 if learned else None
        return dict(case=self.case, method=self.method, settings=settings, **seeds, prior_sha256=prior)

    def digest(self) -> str:
        """Return the hash of that."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()

    def stored(self) -> dict[str, Any] | None:
        """Return what an earlier run left, `row`, `seconds` and `commit`; None if the cell is not finished.

        Raises:
            ScoredaError: if its file is damaged.
        """
        if self.ensembles and not self.analysis.is_file():
            return None
        if not self.result.is_file():
            found = self.scored()
            return found and self.store(**found)
        found = _read_result(self.result)
        return found if found["digest"] == self.digest() else None

    def scored(self) -> dict[str, Any] | None:
        """Return the scores, `row`, of the analysis that is there; None if there is none, or one of other settings."""
        from scoreda.datasets import open_dataset

        if not self.analysis.is_file():
            return None
        with open_dataset(self.analysis, needs=("analysis",)) as run:
            made_from = json.loads(run.attrs.get("scoreda_config", "{}")).get("cell")
            return {"row": _scored(self, run)[0]} if made_from == self.content() else None

    def store(self, row: dict[str, Any], **known: Any) -> dict[str, Any]:
        """Write scores, and what else is known of their run, in one step; return both."""
        found = {"row": row} | known
        write_text(self.result, json.dumps({"digest": self.digest()} | found, indent=1) + "\n")
        return found

    def failed(self, why: str) -> Outcome:
        """Return the outcome of a cell that could not be run."""
        return Outcome(self, failure=why)


def _read_result(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found | {"digest": found["digest"], "row": dict(found["row"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ScoredaError(f"{path}: damaged ({error}). Remove it, and its scores are computed again.") from error


def run_cell(cell: Cell, memory: float = math.inf) -> Outcome:
    """Run a cell within `memory` bytes, or find that it has run; return scores. What goes wrong is told, not raised."""
    try:
        found = cell.stored() or _run(cell, memory)
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return cell.failed(f"{kind}{error}")
    return Outcome(cell, found["row"], found.get("seconds", math.nan), commit=found.get("commit", ""))


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the random generator that belongs to a seed and some names, in that order."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=[zlib.crc32(name.encode()) for name in names]))


def parts_of(cell: Cell, budget: Budget = UNLIMITED) -> Parts:
    """Return what the method of a cell is made from; what takes long is computed by the first call in a process."""
    model = cell.settings.model
    return Parts(
        model.build(),
        lambda: _climatology(model.model_dump_json(), cell.twin_seed, cell.case),
        lambda: budget.of_prior(_prior(cell.prior, cell.prior_sha256, cell.device)),
    )


@lru_cache(maxsize=1)  # cells come case by case, and a climatology may be as large as a run
def _climatology(model: str, twin_seed: int, case: str) -> "Climatology":
    from scoreda.datasets import climatology
    from scoreda.experiments.case import ModelSection

    return climatology(ModelSection.model_validate_json(model).build(), generator(twin_seed, case, "climatology"))


@lru_cache(maxsize=1)
def _prior(name: str, fingerprint: str | None, device: str) -> "Prior":
    """Load a prior; ScoredaError if it is not the one that the run began with."""
    from scoreda.diffusion import load_prior

    prior = load_prior(name, device)
    if prior.fingerprint() != fingerprint:
        raise ScoredaError(
            f"the prior '{name}' has fingerprint {prior.fingerprint()}, but the run began with {fingerprint}: it was "
            "changed since, or is another one on this machine. Put that one back, or give the command again."
        )
    return prior


def _run(cell: Cell, memory: float) -> dict[str, Any]:
    """Run the method, write what is kept, and return scores, time and commit."""
    from scoreda.datasets.provenance import commit

    clock = time.perf_counter()
    with _assimilated(cell, memory) as run:
        seconds = round(time.perf_counter() - clock, 3)
        row, statistics = _scored(cell, run.dataset)
        _keep(cell, run, statistics)
    return cell.store(row, seconds=seconds, commit=commit())  # last: a cell whose scores are there is finished


def _assimilated(cell: Cell, memory: float) -> AbstractContextManager[Run]:
    """Return the run of a cell, in memory if it fits."""
    from scoreda.datasets import open_dataset

    with open_dataset(cell.twin) as twin:
        cycles = twin.sizes["time"]
    prior = partial(_prior, cell.prior, cell.prior_sha256, cell.device) if cell.prior_sha256 else None
    budget = budget_of(cell.settings, cell.method, cycles, memory, prior)
    start = partial(_start, cell, budget)
    return streamed(cell.twin, start, cell.analysis.parent) if budget.streamed else held(cell.twin, start)


def _start(cell: Cell, budget: Budget, twin: "xr.Dataset") -> dict[str, Any]:
    """Return what `assimilate` takes besides the twin."""
    from scoreda.assimilation import initial_ensemble

    case = cell.settings
    # Not named after the method: all methods of one size start from the same ensemble.
    start = generator(cell.seed, cell.case, "initial")
    return dict(
        method=case.methods[cell.method].build(parts_of(cell, budget)),
        ensemble=initial_ensemble(twin, cell.members, case.initial.kind, case.initial.std, rng=start),
        rng=generator(cell.seed, cell.case, cell.method, "analysis"),
        error=case.observations.assumed_error(twin.sizes["obs"]),
    )


def _scored(cell: Cell, run: "xr.Dataset") -> tuple[dict[str, Any], "xr.Dataset | None"]:
    """Return the scores that are defined, which JSON can hold, and the statistics behind them."""
    case = cell.settings
    error = case.observations.assumed_error(run.sizes["obs"]) if "obs" in run.sizes else None
    row, statistics = score_run(run, case.burn_in, case.lock_level, error)
    return {
        name: value for name, value in row.items() if not (isinstance(value, float) and math.isnan(value))
    }, statistics


def _keep(cell: Cell, run: Run, statistics: "xr.Dataset | None") -> None:
    """Write the ensembles, or what the report needs of them where only that is kept."""
    from scoreda.datasets import write_dataset
    from scoreda.datasets.provenance import provenance

    history = {"history": run.dataset.attrs["history"]}
    if cell.ensembles:
        run.write(provenance(str(cell), cell.seed, cell=cell.content()) | history, cell.analysis)
    elif statistics is not None:
        write_dataset(statistics.astype(np.float32), cell.series)
