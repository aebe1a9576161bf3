"""The twin of every case: simulated, or made of a file of observations."""

from pathlib import Path
from typing import TYPE_CHECKING

from scoreda.errors import ScoredaError
from scoreda.experiments.config import Case, Experiment, resolved
from scoreda.experiments.folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from scoreda.models import Model

__all__ = ["make_twins"]


def make_twins(config: Experiment, folder: RunFolder, overwrite: bool = False) -> dict[str, "xr.Dataset"]:
    """Claim the folder and return the twin of every case; `twin.nc` is written where it is missing.

    Raises:
        ScoredaError: if a file of observations does not fit its case, or the folder is another run's; nothing is
            written then.
    """
    from scoreda.datasets import open_dataset, write_dataset

    given = {name: _observed(case) for name, case in config.cases.items() if case.observations.file}
    folder.claim(resolved(config), overwrite)
    twins = {}
    for name, case in config.cases.items():
        path = folder.twin(name)
        if not path.is_file():
            write_dataset(given[name] if name in given else _simulated(case, config.twin_seed), path)
        with open_dataset(path, needs=("obs",)) as twin:
            twins[name] = twin.load()
    return twins


def _simulated(case: Case, seed: int) -> "xr.Dataset":
    from scoreda.datasets import simulate

    network = case.observations.build(case.model.size)
    return simulate(case.model.build(), network, case.cycles or 0, seed, case.spinup, case.observations.missing)


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
