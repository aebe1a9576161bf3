"""The assimilation cycle over a twin experiment or a user's observations."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from scoreda.assimilation.persistence import settings_of, state_from_dataset, state_to_dataset
from scoreda.assimilation.protocol import Method, State
from scoreda.assimilation.streamed import DIMS, streamed_rows, write_header
from scoreda.datasets import climate_states, model_of, open_dataset, write_dataset
from scoreda.datasets.batches import Batches
from scoreda.datasets.layout import flat_dataset, replacing
from scoreda.datasets.provenance import derived, to_json
from scoreda.datasets.simulate import initial_time_of
from scoreda.errors import ScoredaError, suggest
from scoreda.models import Model
from scoreda.observations import ErrorModel, Observation, Operator

__all__ = ["assimilate", "assimilate_to", "initial_ensemble", "resume"]

FROM_TWIN = ("truth", "obs", "obs_location", "truth_initial")

Rows = Callable[[str, tuple[int, ...]], Any]  # name and shape including time: what takes a row for every cycle


def rows_in_memory(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Ensembles are kept in single precision, diagnostics (scalars) in double."""
    return np.full(shape, np.nan, dtype=np.float32 if len(shape) > 1 else np.float64)


def initial_ensemble(
    twin: xr.Dataset,
    members: int,
    kind: str = "truth",
    std: float = 1.0,
    *,
    rng: np.random.Generator,
    model: Model | None = None,
) -> np.ndarray:
    """Return an ensemble `(members, Nx)` at the initial time of `twin`.

    Args:
        twin: The twin experiment.
        members: At least 2.
        kind: `"truth"`: the true initial state plus independent Gaussian noise (a warm start); `"climatology"`:
            independent states of the model's climate (a cold start).
        std: Standard deviation of that noise, model units.
        rng: The only source of randomness.
        model: In place of the twin's own, for the climate.

    Raises:
        ValueError: if `members < 2`, `std` is not positive, or the kind is unknown.
        ScoredaError: if the twin lacks what the kind needs.
    """
    if members < 2:
        raise ValueError(f"`members` must be at least 2, got {members}. Pass members=20.")
    if kind == "climatology":
        return climate_states(model or model_of(twin), members, rng)
    if kind != "truth":
        raise ValueError(f"unknown kind '{kind}'; {suggest(kind, ('truth', 'climatology'))}")
    if not (np.isfinite(std) and std > 0):
        raise ValueError(f"`std` must be positive, got {std}. The usual warm start has 1.")
    if "truth_initial" not in twin:
        raise ScoredaError("the dataset has no `truth_initial` to start from. Use kind='climatology'.")
    initial = twin["truth_initial"].values
    return initial + std * rng.normal(size=(members, len(initial)))


@dataclass
class _Run:
    """A run under way: where it is, and its rows so far; row `k` of every array belongs to cycle `k`."""

    method: Method
    state: State
    rng: np.random.Generator
    cycles: int
    done: int = 0
    diverged: int = -1
    rows: dict[str, Any] = field(default_factory=dict)
    new_rows: Rows = rows_in_memory

    def advance(self, batches: Batches) -> None:
        """Run the remaining cycles, or up to the one that diverges."""
        left = batches.between(self.done, self.cycles)
        todo = self.cycles - self.done
        with np.errstate(over="ignore", invalid="ignore"):
            for obs in tqdm(left, total=todo, desc=self.method.name, unit="cycle", disable=None):
                self._step(obs)
                if self.diverged >= 0:
                    return

    def _step(self, obs: Observation) -> None:
        try:
            state, info = self.method.step(self.state, obs, self.rng)
        except np.linalg.LinAlgError:
            return self._lose()
        if not np.isfinite(state.ensemble).all():
            return self._lose()
        self.state = state
        self._keep({"prior": info.prior, "analysis": state.ensemble} | info.diagnostics)
        self.done += 1

    def _lose(self) -> None:
        """Note the divergence; this cycle and those after it stay NaN."""
        self.diverged = self.done
        lost = np.full_like(self.state.ensemble, np.nan)
        self._keep({"prior": lost, "analysis": lost})

    def _keep(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if name not in self.rows:
                self.rows[name] = self.new_rows(name, (self.cycles, *np.shape(value)))
            self.rows[name][self.done] = value

    def restore(self, ds: xr.Dataset) -> None:
        """Take the rows of an earlier part of the run."""
        self.diverged = int(ds.attrs["diverged"])
        recorded = [str(name) for name in ds.data_vars if ds[name].dims[:1] == ("time",) and name not in FROM_TWIN]
        for name in recorded:
            self.rows[name] = self.new_rows(name, (self.cycles, *ds[name].shape[1:]))
            self.rows[name][: self.done] = ds[name].values[: self.done]

    def dataset(self, twin: xr.Dataset) -> xr.Dataset:
        """Return the rows beside the truth and the observations."""
        part = twin.isel(time=slice(0, self.cycles))
        recorded = {name: (DIMS[: array.ndim], array) for name, array in self.rows.items()}
        given = {name: part[name].variable for name in FROM_TWIN if name in part.variables}
        return flat_dataset(recorded | given, {"time": part["time"].variable}, self.attributes(twin))

    def append_header(self, twin: xr.Dataset, path: Path) -> None:
        """Add to a file of rows what `dataset` has beside them."""
        run = replace(self, rows={}).dataset(twin)
        write_header(run, dict(zip(DIMS[1:], self.state.ensemble.shape, strict=True)), path)

    def attributes(self, twin: xr.Dataset) -> dict[str, Any]:
        """Return the attributes of the run so far."""
        attrs = derived(twin.attrs, f"{self.method.name} analysis")
        return attrs | {"method": self.method.name, "diverged": self.diverged}


def assimilate(
    twin: xr.Dataset,
    method: Method,
    ensemble: np.ndarray,
    rng: np.random.Generator,
    cycles: int | None = None,
    operator: Operator | None = None,
    error: ErrorModel | None = None,
    checkpoint: Path | str | None = None,
) -> xr.Dataset:
    """Run `method` over the observations of `twin`.

    Args:
        twin: A twin experiment, or a user's file: `obs (time, obs)` with `time` in model time; the truth may be absent.
        method: Any object with `init` and `step`.
        ensemble: Initial members `(N, Nx)` at the twin's `initial_time`, or one interval before the first observation.
        rng: The only source of randomness.
        cycles: Stop after so many observation times; all of them if None.
        operator: In place of the twin's own; needed where that was a user's callable.
        error: In place of the twin's own.
        checkpoint: Where to leave what `resume` needs to go on.

    Returns:
        `prior` and `analysis` `(time, member, space)` in single precision, every diagnostic of the method `(time,)`,
        and the twin's truth and observations. If the ensemble becomes infinite, NaN, or impossible to update
        (LinAlgError), the attribute `diverged` is the index of that cycle and the rows from there on are NaN;
        otherwise it is -1.

    Raises:
        ValueError: if the ensemble, `rng` or `cycles` does not fit.
        ScoredaError: if the twin does not.
    """
    batches = Batches(twin, operator, error)
    return _finish(_started(batches, twin, method, ensemble, rng, cycles), batches, twin, checkpoint)


def _started(
    batches: Batches,
    twin: xr.Dataset,
    method: Method,
    ensemble: np.ndarray,
    rng: np.random.Generator,
    cycles: int | None,
) -> _Run:
    """Return a run at its beginning."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"`rng` must be a numpy Generator, got {type(rng).__name__}. Pass np.random.default_rng(seed)."
        )
    state = method.init(ensemble, time=initial_time_of(twin))
    _check_sizes(batches, state)
    return _Run(method, state, rng, _stop(batches, cycles))


def assimilate_to(
    path: Path | str,
    twin: xr.Dataset,
    method: Method,
    ensemble: np.ndarray,
    rng: np.random.Generator,
    cycles: int | None = None,
    operator: Operator | None = None,
    error: ErrorModel | None = None,
) -> None:
    """Run as `assimilate` does, but write every cycle to `path` when it is done: memory does not grow with ensembles.

    The file is the Dataset of `assimilate`; it appears under its name when it is complete. Truth and observations of a
    `twin` that was opened with `open_dataset(path)` are read some times at a time.

    Args:
        path: A netCDF file.
        twin, method, ensemble, rng, cycles, operator, error: As in `assimilate`, as are the errors.
    """
    batches = Batches(twin, operator, error)
    run = _started(batches, twin, method, ensemble, rng, cycles)
    with replacing(path) as partial:
        with streamed_rows(partial) as run.new_rows:
            run.advance(batches)
        run.append_header(twin, partial)


def resume(
    path: Path | str,
    twin: xr.Dataset,
    method: Method,
    cycles: int | None = None,
    operator: Operator | None = None,
    error: ErrorModel | None = None,
    checkpoint: Path | str | None = None,
) -> xr.Dataset:
    """Go on with a run from the checkpoint `path`, to the same bits as a run that was never stopped.

    Args:
        path: A file that `assimilate` or `resume` left as `checkpoint`; it holds the state, the generator and the rows.
        twin: The twin experiment of that run.
        method: The method of that run, made with the same settings.
        cycles: Stop after so many observation times, counted from the start of the run; all of them if None.
        operator: As in `assimilate`.
        error: As in `assimilate`.
        checkpoint: Where to leave a new checkpoint; may be `path`.

    Returns:
        The whole run, as from `assimilate`.

    Raises:
        ScoredaError: if the file is not a checkpoint of this method, with these settings, over this twin, or the
            operator does not fit the states.
        ValueError: if `cycles` lies before the checkpoint or after the last observation.
    """
    batches = Batches(twin, operator, error)
    with open_dataset(path, needs=("state_ensemble", "obs", "analysis")) as ds:
        _check_checkpoint(ds, twin, method, path)
        state, rng = state_from_dataset(ds, operator)
        _check_sizes(batches, state)
        run = _Run(method, state, rng, _stop(batches, cycles, ds.sizes["time"]), done=ds.sizes["time"])
        run.restore(ds)
    return _finish(run, batches, twin, checkpoint)


def _stop(batches: Batches, cycles: int | None, least: int = 1) -> int:
    """Return the number of cycles to run in all."""
    stop = len(batches) if cycles is None else cycles
    if not least <= stop <= len(batches):
        raise ValueError(f"`cycles` must be {least} to {len(batches)}, the number of observation times, got {stop}.")
    return stop


def _check_sizes(batches: Batches, state: State) -> None:
    takes, size = batches.operator.state_size, state.ensemble.shape[1]
    if takes != size:
        raise ScoredaError(
            f"the operator takes {takes} variables, the states have {size}. Pass an operator of state_size={size}."
        )


def _check_checkpoint(ds: xr.Dataset, twin: xr.Dataset, method: Method, path: Path | str) -> None:
    if ds.attrs["method"] != method.name:
        raise ScoredaError(
            f"'{path}' is a run of {ds.attrs['method']}, not of {method.name}. Pass the method it was made with."
        )
    found, wanted = json.loads(ds.attrs.get("state_settings", "{}")), json.loads(to_json(settings_of(method)))
    wanted = {name: wanted.get(name, "left out") for name in found}
    changed = [name for name in found if found[name] != wanted[name]]
    if changed:
        differing = ", ".join(f"{name} = {found[name]}, not {wanted[name]}" for name in changed)
        raise ScoredaError(f"'{path}' was made with {differing}. Pass the method with the settings it was made with.")
    if not np.array_equal(ds["obs"].values, twin["obs"].values[: ds.sizes["time"]], equal_nan=True):
        raise ScoredaError(f"'{path}' is a run over other observations. Pass the twin it was made with.")


def _finish(run: _Run, batches: Batches, twin: xr.Dataset, checkpoint: Path | str | None) -> xr.Dataset:
    """Run to the end, leave the checkpoint, return the Dataset."""
    if run.diverged < 0:
        run.advance(batches)
    ds = run.dataset(twin)
    if checkpoint is not None:
        state = state_to_dataset(run.state, run.rng).assign_attrs(state_settings=to_json(settings_of(run.method)))
        write_dataset(xr.merge([ds, state], combine_attrs="no_conflicts"), checkpoint)
    return ds
