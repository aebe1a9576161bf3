"""The cells of an experiment, which of them have run, and the tables of their results, written by one process."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from scoreda.experiments.cells import Cell, Outcome, run_cell
from scoreda.experiments.cluster import Execute
from scoreda.experiments.config import Experiment
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.scores import COLUMNS, read_rows, write_rows
from scoreda.experiments.twins import twin_files

__all__ = ["Sweep", "run_sweeps"]

log = logging.getLogger("scoreda")

REFRESH = 5.0  # seconds between two versions of the tables while cells run
TIMING_COLUMNS = ("case", "method", "seed", "seconds", "commit")


class Sweep:
    """An experiment in its folder.

    Args:
        config: What to run; nothing in it is left to be tuned.
        folder: Where; the twins are there.
        device: Where the prior's network runs.
    """

    def __init__(self, config: Experiment, folder: RunFolder, device: str = "cpu") -> None:
        self.config, self.folder, self.device = config, folder, device
        self.cells = list(self._cells())
        self._found = {str(cell): found for cell in self.cells if (found := cell.stored()) is not None}
        self._timed = {_key(row): row for row in read_rows(folder.timings)}
        self._written = 0.0

    def _cells(self) -> Iterator[Cell]:
        # Workers may have been started in other folders, so that they need absolute paths.
        config, folder = self.config, RunFolder(self.folder.path.absolute())
        twins = {case: dict(twin_files(config, folder, case)) for case in config.cases}
        prior = Path(config.prior)
        named = str(prior.absolute()) if prior.is_file() or any(prior.glob("*.safetensors")) else config.prior
        shared = dict(twin_seed=config.twin_seed, prior=named, prior_sha256=config.prior_sha256)
        for case, method, seed in config.cells():
            settings = config.cases[case]
            alone = settings.model_copy(update=dict(methods={method: settings.methods[method]}, expected={}))
            kept = dict(ensembles=config.ensembles, device=self.device)
            yield Cell(folder, case, method, seed, alone, twins[case][seed], **shared, **kept)  # type: ignore[arg-type]

    def missing(self) -> list[Cell]:
        """Return the cells that have not run."""
        return [cell for cell in self.cells if str(cell) not in self._found]

    def take(self, outcome: Outcome) -> None:
        """Note the result of a cell; the tables follow within some seconds."""
        if not outcome.failure:
            known = dict(row=outcome.row, seconds=outcome.seconds, commit=outcome.commit)
            self._found[str(outcome.cell)] = known
        if time.monotonic() - self._written > REFRESH:
            self.write()

    def score_again(self) -> None:
        """Score every analysis that is there."""
        self._found |= {str(cell): found for cell in self.cells if (found := cell.scored()) is not None}

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of `scores.csv`: every finished cell, in the order of the configuration."""
        return [self._known(cell) | self._found[str(cell)]["row"] for cell in self.cells if str(cell) in self._found]

    def _known(self, cell: Cell) -> dict[str, Any]:
        case = self.config.cases[cell.case]
        known = dict(case=cell.case, method=cell.method, seed=cell.seed, members=cell.members)
        known["tuning"] = case.methods[cell.method].tuning()
        expected = case.expected.get(cell.method)
        if expected is None:
            return known
        locked = "yes" if expected.locked else ""
        return known | dict(expected=expected.rmse_a, source=expected.source, expected_locked=locked)

    def write(self) -> None:
        """Write `scores.csv` and `timings.csv` of what has run so far."""
        write_rows(self.folder.scores, COLUMNS, self.rows())
        write_rows(self.folder.timings, TIMING_COLUMNS, self._timings())
        self._written = time.monotonic()

    def _timings(self) -> Iterator[dict[str, Any]]:
        for cell in self.cells:
            run = self._run_of(cell)
            if "seconds" in run:
                known = dict(case=cell.case, method=cell.method, seed=cell.seed, commit=run.get("commit", ""))
                yield known | dict(seconds=f"{float(run['seconds']):.3f}")

    def _run_of(self, cell: Cell) -> dict[str, Any]:
        """Return what is known of the run of a cell; an analysis without a result may have that in the table alone."""
        found = self._found.get(str(cell))
        return self._timed.get((cell.case, cell.method, str(cell.seed)), {}) | found if found else {}


def run_sweeps(sweeps: Sequence[Sweep], execute: Execute, memory: float = math.inf, part: str = "") -> list[Outcome]:
    """Run what is missing of all sweeps together, each cell within `memory` bytes; return the cells that failed.

    `part` says of what part of the work, such as " in round 1 of 3", the messages count cells and time.
    """
    owners = {cell: sweep for sweep in sweeps for cell in sweep.missing()}
    failures = []
    for outcome in _reported(execute(partial(run_cell, memory=memory), owners), owners, part):
        owners[outcome.cell].take(outcome)
        failures += [outcome] if outcome.failure else []
    for sweep in sweeps:
        sweep.write()
    return failures


def _reported(outcomes: Iterable[Outcome], cells: Iterable[Cell], part: str) -> Iterator[Outcome]:
    """Say of every cell how long it took or why it failed, how many are done, and how long the others may take."""
    start, cost = time.monotonic(), {cell: cell.cost for cell in cells}
    total, done = sum(cost.values()), 0
    for count, outcome in enumerate(outcomes, 1):
        done += cost[outcome.cell]
        left = (time.monotonic() - start) * (total - done) / done
        result = f"failed: {outcome.failure}" if outcome.failure else f"{outcome.seconds:.1f} s"
        log.info("%s: %s (%d of %d, %s left%s)", outcome.cell, result, count, len(cost), _duration(left), part)
        yield outcome


def _duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return row["case"], row["method"], row["seed"]
