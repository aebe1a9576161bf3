"""Running an experiment: every case x method x seed, into one folder, finished cells skipped.

The twin of a case depends on `twin_seed` alone. Whatever a cell draws comes from its seed, its case and its method, so
cells may run in any order, and one more method changes nothing about the others.
"""

import hashlib
import logging
import time
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.experiments.config import Case, Experiment, load_config, resolved
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.methods import Parts
from scoreda.experiments.prior_samples import PRIOR_SAMPLES, write_prior_samples
from scoreda.experiments.scores import COLUMNS, read_rows, score_row, write_rows
from scoreda.experiments.twins import make_twins

if TYPE_CHECKING:
    import xarray as xr

    from scoreda.diffusion import Prior

__all__ = ["generator", "pinned", "run_experiment", "score_folder", "write_scores"]

log = logging.getLogger("scoreda")


def run_experiment(
    config: Experiment, out: Path | str, device: str = "cpu", overwrite: bool = False
) -> list[dict[str, Any]]:
    """Run every cell that has not run yet, and write `scores.csv` and `timings.csv`.

    Args:
        config: What to run.
        out: Folder of the run; made if need be.
        device: Where the prior's network runs.
        overwrite: Whether a run that is in `out`, of whatever configuration, is replaced.

    Returns:
        The rows of `scores.csv`.

    Raises:
        ScoredaError: for bad input, before anything is written.
    """
    config, prior = pinned(config, device)
    folder = RunFolder(Path(out))
    twins = make_twins(config, folder, overwrite)
    for case, settings in config.cases.items():
        missing = [cell[1:] for cell in config.cells() if cell[0] == case and not folder.analysis(*cell).is_file()]
        parts = _parts(config, case, prior)
        for method, seed in missing:
            _run_cell(config, (case, method, seed), twins[case], parts, settings, folder)
        if prior is not None and not (folder.path / PRIOR_SAMPLES).is_file():
            write_prior_samples(folder.path, prior, parts.model, seed=config.twin_seed)
    return write_scores(config, folder)


def pinned(config: Experiment, device: str = "cpu") -> tuple[Experiment, "Prior | None"]:
    """Return the configuration with the prior's fingerprint, and the prior; None if no method uses one.

    Raises:
        ScoredaError: if the prior cannot be loaded, or is not the one that `prior_sha256` names.
    """
    if not config.needs_prior():
        return config, None
    from scoreda.diffusion import load_prior

    prior = load_prior(config.prior, device)
    digest = hashlib.sha256()
    for name, weights in sorted(prior.denoiser.state_dict().items()):
        digest.update(name.encode() + weights.cpu().numpy().tobytes())
    found = digest.hexdigest()[:16]
    if config.prior_sha256 not in (None, found):
        raise ScoredaError(
            f"the prior '{config.prior}' has fingerprint {found}, but `prior_sha256` asks for {config.prior_sha256}. "
            "Give the prior it was run with, or remove `prior_sha256`."
        )
    return config.model_copy(update={"prior_sha256": found}), prior


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the random generator that belongs to a seed and some names, in that order."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=[zlib.crc32(name.encode()) for name in names]))


def write_scores(config: Experiment, folder: RunFolder) -> list[dict[str, Any]]:
    """Score every finished cell, write `scores.csv` and return its rows."""
    from scoreda.datasets import open_dataset

    rows = []
    for case, method, seed in config.cells():
        path, settings = folder.analysis(case, method, seed), config.cases[case]
        if not path.is_file():
            continue
        with open_dataset(path, needs=("analysis",)) as run:
            scores = score_row(run, settings.burn_in, settings.lock_level)
        known = dict(case=case, method=method, seed=seed, members=settings.members_of(method))
        known["tuning"] = settings.methods[method].tuning()
        expected = settings.expected.get(method)
        if expected:
            known |= dict(expected=expected.rmse_a, source=expected.source)
        rows.append(known | scores)
    write_rows(folder.scores, COLUMNS, rows)
    return rows


def score_folder(out: Path | str) -> list[dict[str, Any]]:
    """Score a run again from its files alone.

    Raises:
        ScoredaError: if the folder holds no run.
    """
    folder = RunFolder(Path(out))
    if not folder.config.is_file():
        raise ScoredaError(f"{out} holds no run: config.yaml is missing. Give the --out of an earlier run.")
    return write_scores(load_config(Experiment, folder.config), folder)


def _parts(config: Experiment, case: str, prior: "Prior | None") -> Parts:
    from scoreda.datasets import climatology

    model = config.cases[case].model.build()
    rng = generator(config.twin_seed, case, "climatology")
    return Parts(model, cache(lambda: climatology(model, rng)), lambda: prior)  # type: ignore[arg-type, return-value]


def _run_cell(
    config: Experiment, cell: tuple[str, str, int], twin: "xr.Dataset", parts: Parts, case: Case, folder: RunFolder
) -> None:
    """Run one method on one twin with one seed, and write the analysis and its time."""
    from scoreda.assimilation import assimilate, initial_ensemble
    from scoreda.datasets import write_dataset
    from scoreda.datasets.provenance import provenance

    name, method, seed = cell
    filter_ = case.methods[method].build(parts)
    # Not named after the method: all methods of one size start from the same ensemble.
    start = generator(seed, name, "initial")
    E = initial_ensemble(twin, case.members_of(method), case.initial.kind, case.initial.std, rng=start)
    clock = time.perf_counter()
    run = assimilate(twin, filter_, E, rng=generator(seed, name, method, "analysis"))
    seconds = time.perf_counter() - clock
    attrs = provenance(f"{name}, {method}, seed {seed}", seed, experiment=resolved(config))
    run.attrs |= attrs | {"history": run.attrs["history"]}
    write_dataset(run, folder.analysis(*cell))
    _note_time(folder, cell, seconds)
    log.info("%s, %s, seed %d: %.1f s", name, method, seed, seconds)


def _note_time(folder: RunFolder, cell: tuple[str, str, int], seconds: float) -> None:
    columns = ("case", "method", "seed", "seconds")
    row: dict[str, Any] = dict(zip(columns, (*map(str, cell), f"{seconds:.3f}"), strict=True))
    others = [r for r in read_rows(folder.timings) if tuple(r[c] for c in columns[:3]) != tuple(map(str, cell))]
    write_rows(folder.timings, columns, [*others, row])
