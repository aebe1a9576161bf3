"""The twins of every case: simulated, or made of a file of observations."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.experiments.config import Case, Experiment, completed, resolved
from scoreda.experiments.folder import RunFolder

if TYPE_CHECKING:
    import xarray as xr

    from scoreda.models import Model

__all__ = ["make_twins", "twin_files", "twin_of_seed"]

Write = Callable[[Path], None]
SOURCE = "source_sha256"  # attribute of a twin: of the file whose observations it holds


def make_twins(config: Experiment, folder: RunFolder, overwrite: bool = False) -> list[Path]:
    """Claim the folder, write the twins that are missing, and return their paths.

    The first twin of every case is made before that, so that a model which blows up leaves the folder as it was.

    Raises:
        ScoredaError: if a file of observations does not fit its case, a model blows up, or the folder is another run's
            or cannot be written to; nothing is written then.
    """
    from scoreda.datasets.layout import check_writable, replacing

    given = {name: _observed(case) for name, case in config.cases.items() if case.observations.file}
    folder.check(resolved(config), overwrite, completed)
    for name in given if not overwrite else ():
        _check_source(config.cases[name], folder.twin(name))
    writers = dict(_writers(config, folder, given))
    firsts = {path.parent: path for path in reversed(writers)}.values()
    missing = [path for path in firsts if overwrite or not path.is_file()]
    with _scratch(folder.path) if missing else nullcontext(folder.path) as scratch:
        made = {path: scratch / f"{number}.nc" for number, path in enumerate(missing)}
        for path, where in made.items():
            writers[path](where)
            check_writable(path)
        folder.claim(resolved(config), overwrite, completed)
        for path, where in made.items():
            with replacing(path) as unfinished:
                shutil.move(where, unfinished)
    for path, write in writers.items():
        if not path.is_file():
            write(path)
    return list(writers)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `folder`, which stays as it is, or in it if that cannot be; removed at the end."""
    beside = [path for path in (*folder.absolute().parents, folder) if path.is_dir() and os.access(path, os.W_OK)]
    if not beside:
        raise ScoredaError(f"cannot write '{folder}': no folder above it may be written to. Choose another.")
    with TemporaryDirectory(dir=beside[0], prefix=".twins-") as hidden:
        yield Path(hidden)


def twin_files(config: Experiment, folder: RunFolder, case: str) -> Iterator[tuple[int, Path]]:
    """Yield every seed of a case and the file of its twin, which may be the same for all seeds."""
    own = config.twin_per_seed and not config.cases[case].observations.file
    for seed in config.seeds:
        yield seed, folder.twin(case, seed if own else None)


def twin_of_seed(config: Experiment, case: str, seed: int) -> "xr.Dataset":
    """Simulate the twin of a case that belongs to a seed, where every seed has its own."""
    from scoreda.datasets import simulate

    return simulate(**_simulation(config.cases[case], _seed_of_twin(config.twin_seed, seed)))


def _writers(config: Experiment, folder: RunFolder, given: dict[str, Write]) -> Iterator[tuple[Path, Write]]:
    """Yield the path of each twin and what writes it."""
    for name, case in config.cases.items():
        for seed, path in twin_files(config, folder, name):
            shared = path == folder.twin(name)
            twin_seed = config.twin_seed if shared else _seed_of_twin(config.twin_seed, seed)
            yield path, given.get(name) or partial(_simulate_to, case, twin_seed)


def _simulate_to(case: Case, seed: int, path: Path) -> None:
    from scoreda.datasets import simulate_to

    simulate_to(path, **_simulation(case, seed))


def _seed_of_twin(twin_seed: int, seed: int) -> int:
    """Return a seed that belongs to both."""
    return int(np.random.SeedSequence([twin_seed, seed]).generate_state(1)[0])


def _simulation(case: Case, seed: int) -> dict[str, Any]:
    """Return the arguments of `simulate`."""
    carried = case.model.build()
    return dict(
        model=case.truth.build() if case.truth else carried,
        network=case.observations.build(carried.size),
        cycles=case.length or 0,
        seed=seed,
        spinup=case.spinup,
        missing=case.observations.missing,
        assimilation_model=carried if case.truth else None,
    )


def _observed(case: Case) -> Write:
    """Return what writes the twin of a case whose observations are in a file, some times in memory at once.

    Raises:
        ScoredaError: if the file does not fit the case.
    """
    from scoreda.datasets import observations, open_dataset, twin_dataset
    from scoreda.datasets.layout import model_times

    path, model = _source(case), case.model.build()
    network = case.observations.build(model.size)
    with open_dataset(path, needs=("obs", "time")) as ds:
        ds = ds.isel(time=slice(case.cycles))
        try:
            _check_start_and_length(ds, case)
            observations(ds, network.operator, network.error)
            times = model_times(ds)
            initial_time = float(ds.attrs.get("initial_time", times[0] - network.interval))
            _check_steps(model, initial_time, times)
        except ValueError as error:
            raise ScoredaError(f"{path}: {error}") from error
        initial = ds["truth_initial"].values if "truth_initial" in ds else None
    header = twin_dataset(model, network, times, None, None, initial, initial_time, {SOURCE: _digest(path)})
    return partial(_copy_to, path, len(times), header)


def _source(case: Case) -> Path:
    return Path(case.observations.file or "")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_source(case: Case, twin: Path) -> None:
    """Refuse to continue a run whose observations have changed since its twin was copied from them."""
    from scoreda.datasets import open_dataset

    if not twin.is_file():
        return
    with open_dataset(twin) as ds:
        found = ds.attrs.get(SOURCE)
    if found not in (None, _digest(_source(case))):
        raise ScoredaError(
            f"{_source(case)} has changed since {twin} was made of it. Put the earlier file back, choose another "
            "--out, or pass --overwrite to replace that run."
        )


def _copy_to(source: Path, cycles: int, header: "xr.Dataset", path: Path) -> None:
    """Write the first cycles of a file of observations, and of the truth if it is there, below a header."""
    from scoreda.assimilation.streamed import copy_rows
    from scoreda.datasets import open_dataset, write_dataset
    from scoreda.datasets.layout import replacing

    with open_dataset(source) as ds, replacing(path) as unfinished:
        ds = ds.isel(time=slice(cycles))
        write_dataset(header, unfinished)
        wanted = {name: ("time", dim) for name, dim in (("truth", "space"), ("obs", "obs")) if name in ds.variables}
        copy_rows({name: _renamed(ds[name], dims) for name, dims in wanted.items()}, unfinished)


def _renamed(field: "xr.DataArray", dims: tuple[str, ...]) -> "xr.Variable":
    """Return a field under the names of the layout for its dimensions, without reading it."""
    return field.drop_vars(list(field.coords)).rename(dict(zip(field.dims, dims, strict=True))).variable


def _check_start_and_length(ds: "xr.Dataset", case: Case) -> None:
    if case.cycles is not None and ds.sizes["time"] < case.cycles:
        raise ScoredaError(f"holds {ds.sizes['time']} observation times, but `cycles` asks for {case.cycles}.")
    if case.initial.kind == "truth" and "truth_initial" not in ds:
        raise ScoredaError("has no `truth_initial` for ensembles to start from. Use initial.kind=climatology.")


def _check_steps(model: "Model", start: float, times: "np.ndarray") -> None:
    from scoreda.assimilation.protocol import whole_steps

    for before, after in zip([start, *times[:-1]], times, strict=True):
        whole_steps(model, before, after)
