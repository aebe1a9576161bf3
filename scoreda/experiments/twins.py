"""The twins of every case: simulated, or made of a file of observations."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.experiments.config import Case, Experiment, completed, resolved
from scoreda.experiments.folder import RunFolder

if TYPE_CHECKING:
    import xarray as xr

    from scoreda.models import Model

__all__ = ["make_twins", "twin_files", "twin_of_seed"]


def make_twins(config: Experiment, folder: RunFolder, overwrite: bool = False) -> list[Path]:
    """Claim the folder, write the twins that are missing, and return their paths.

    The first twin of every case is made before that, so that a model which blows up leaves the folder as it was.

    Raises:
        ScoredaError: if a file of observations does not fit its case, a model blows up, or the folder is another run's
            or cannot be written to; nothing is written then.
    """
    from scoreda.datasets import write_dataset
    from scoreda.datasets.layout import check_writable

    given = {name: _observed(case) for name, case in config.cases.items() if case.observations.file}
    folder.check(resolved(config), overwrite, completed)
    makers = dict(_makers(config, folder, given))
    for path in {path.parent: path for path in reversed(makers)}.values():
        if overwrite or not path.is_file():
            makers[path] = _keeper(makers[path]())
            check_writable(path)
    folder.claim(resolved(config), overwrite, completed)
    for path, make in makers.items():
        if not path.is_file():
            write_dataset(make(), path)
    return list(makers)


def twin_files(config: Experiment, folder: RunFolder, case: str) -> Iterator[tuple[int, Path]]:
    """Yield every seed of a case and the file of its twin, which may be the same for all seeds."""
    own = config.twin_per_seed and not config.cases[case].observations.file
    for seed in config.seeds:
        yield seed, folder.twin(case, seed if own else None)


def twin_of_seed(config: Experiment, case: str, seed: int) -> "xr.Dataset":
    """Simulate the twin of a case that belongs to a seed, where every seed has its own."""
    return _simulated(config.cases[case], _seed_of_twin(config.twin_seed, seed))


def _makers(config: Experiment, folder: RunFolder, given: dict[str, "xr.Dataset"]) -> Iterator[Any]:
    """Yield the path of each twin and what makes it."""
    for name, case in config.cases.items():
        for seed, path in twin_files(config, folder, name):
            shared = path == folder.twin(name)
            twin_seed = config.twin_seed if shared else _seed_of_twin(config.twin_seed, seed)
            yield path, _maker(case, twin_seed, given.get(name))


def _maker(case: Case, seed: int, given: "xr.Dataset | None") -> Callable[[], "xr.Dataset"]:
    return lambda: _simulated(case, seed) if given is None else given


def _keeper(twin: "xr.Dataset") -> Callable[[], "xr.Dataset"]:
    return lambda: twin


def _seed_of_twin(twin_seed: int, seed: int) -> int:
    """Return a seed that belongs to both."""
    return int(np.random.SeedSequence([twin_seed, seed]).generate_state(1)[0])


def _simulated(case: Case, seed: int) -> "xr.Dataset":
    from scoreda.datasets import simulate

    carried, missing = case.model.build(), case.observations.missing
    truth = case.truth.build() if case.truth else carried
    network = case.observations.build(carried.size)
    return simulate(truth, network, case.length or 0, seed, case.spinup, missing, carried if case.truth else None)


def _observed(case: Case) -> "xr.Dataset":
    """Return the twin of a case whose observations are in a file; ScoredaError if the file does not fit the case."""
    from scoreda.datasets import observations, open_dataset, twin_dataset
    from scoreda.datasets.layout import model_times

    path, model = Path(case.observations.file or ""), case.model.build()
    network = case.observations.build(model.size)
    with open_dataset(path, needs=("obs", "time")) as ds:
        ds = ds.isel(time=slice(case.cycles)).load()
    try:
        _check_start_and_length(ds, case)
        observations(ds, network.operator, network.error)
        times = model_times(ds)
        initial_time = float(ds.attrs.get("initial_time", times[0] - network.interval))
        _check_steps(model, initial_time, times)
    except ValueError as error:
        raise ScoredaError(f"{path}: {error}") from error
    truth, initial = (ds[name].values if name in ds else None for name in ("truth", "truth_initial"))
    return twin_dataset(model, network, times, ds["obs"].values, truth, initial, initial_time)


def _check_start_and_length(ds: "xr.Dataset", case: Case) -> None:
    if case.cycles is not None and ds.sizes["time"] < case.cycles:
        raise ScoredaError(f"holds {ds.sizes['time']} observation times, but `cycles` asks for {case.cycles}.")
    if case.initial.kind == "truth" and "truth_initial" not in ds:
        raise ScoredaError("has no `truth_initial` for ensembles to start from. Use initial.kind=climatology.")


def _check_steps(model: "Model", start: float, times: "np.ndarray") -> None:
    from scoreda.assimilation.protocol import whole_steps

    for before, after in zip([start, *times[:-1]], times, strict=True):
        whole_steps(model, before, after)
