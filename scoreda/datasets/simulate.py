"""Twin experiments: a known truth, and observations of it with known errors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from scoreda.datasets.batches import attribute, spec_of
from scoreda.datasets.climatology import climate_states
from scoreda.datasets.layout import check_finite, flat_dataset, model_times, provenance, replacing, write_dataset
from scoreda.datasets.provenance import to_json
from scoreda.datasets.rows import new_rows, times_at_once
from scoreda.models import Model, from_spec, seeded
from scoreda.observations import GaussianError, MovingSites, Network

__all__ = ["initial_time_of", "model_of", "simulate", "simulate_to", "truth_model_of", "twin_dataset"]


def simulate(
    model: Model,
    network: Network,
    cycles: int,
    seed: int,
    spinup: float = 20.0,
    missing: float = 0.0,
    assimilation_model: Model | None = None,
) -> xr.Dataset:
    """Simulate a twin experiment.

    Args:
        model: Makes the truth; needs `random_states`.
        network: What is observed, how well and when; the times are whole numbers of steps of both models.
        cycles: Number of observation times.
        seed: Start, observation errors, gaps and model errors draw from independent children of this seed.
        spinup: Model time units from a rough start to the initial state.
        missing: Fraction of the values that is lost (NaN), at random.
        assimilation_model: What `model_of` is to return, where methods shall use another model than that of the
            truth. If it carries the resolved variables of the truth only, they alone are written and observed.

    Returns:
        A Dataset as `twin_dataset` describes it, with provenance.

    Raises:
        ValueError: if the sizes, the times, `cycles` or `missing` do not fit.
        ScoredaError: if the model blows up.
    """
    run = _Simulation.of(model, network, cycles, seed, spinup, missing, assimilation_model)
    (truth, obs), *_ = run.parts(cycles)
    return run.dataset(truth, obs)


def simulate_to(
    path: Path | str,
    model: Model,
    network: Network,
    cycles: int,
    seed: int,
    spinup: float = 20.0,
    missing: float = 0.0,
    assimilation_model: Model | None = None,
) -> None:
    """Simulate as `simulate` does, but write some times at a time to `path`: memory does not grow with the cycles.

    The file is the Dataset of `simulate`, to the bit; it appears under its name when it is complete.

    Args:
        path: A netCDF file.
        model, network, cycles, seed, spinup, missing, assimilation_model: As in `simulate`, as are the errors.
    """
    from netCDF4 import Dataset

    run = _Simulation.of(model, network, cycles, seed, spinup, missing, assimilation_model)
    first, step = 0, times_at_once(model.size + network.operator.size)
    with replacing(path) as partial:
        write_dataset(run.dataset(), partial)
        with Dataset(partial, "a") as file:
            truth = new_rows(file, "truth", {"time": cycles, "space": run.kept})
            obs = new_rows(file, "obs", {"time": cycles, "obs": network.operator.size})
            for x, y in run.parts(step):
                truth[first : first + len(x)], obs[first : first + len(y)] = x, y
                first += len(x)


class _Simulation(NamedTuple):
    """A twin that is simulated: its parts are drawn in order, and together are the same whatever their length."""

    model: Model
    carried: Model
    network: Network
    cycles: int
    kept: int
    missing: float
    initial: np.ndarray
    errors: np.random.Generator
    gaps: np.random.Generator
    attrs: dict[str, Any]

    @classmethod
    def of(
        cls,
        model: Model,
        network: Network,
        cycles: int,
        seed: int,
        spinup: float,
        missing: float,
        assimilation_model: Model | None,
    ) -> "_Simulation":
        """Return a simulation at its beginning; arguments and errors are those of `simulate`."""
        carried = assimilation_model or model
        kept = _check_request(model, carried, network, cycles, missing)
        start, errors, gaps, noise = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
        initial = climate_states(model, 1, start, spinup)[0]
        specs = _configuration(model, network, carried) | dict(cycles=cycles, spinup=spinup, missing=missing)
        attrs = provenance(f"{model.name} twin experiment", seed, **specs)
        attrs |= {} if carried is model else {"truth_model": to_json(model.spec())}
        return cls(seeded(model, noise), carried, network, cycles, kept, missing, initial, errors, gaps, attrs)

    def parts(self, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield truth `(times, Nx)` and observations `(times, Ny)` of at most so many times each; only once."""
        steps, times = _steps(self.model, self.network, self.cycles), self.network.observation_times(self.cycles)
        x = self.initial
        for first in range(0, self.cycles, most):
            truth = _trajectory(self.model, x, steps[first : first + most], first)
            x = truth[-1]
            yield truth[:, : self.kept], self._observed(times[first : first + most], truth[:, : self.kept])

    def _observed(self, times: np.ndarray, truth: np.ndarray) -> np.ndarray:
        at, error = self.network.at, self.network.error
        obs = np.stack([at(time)(x) + error.sample(self.errors) for time, x in zip(times, truth, strict=True)])
        obs[self.gaps.random(obs.shape) < self.missing] = np.nan
        return obs

    def dataset(self, truth: np.ndarray | None = None, obs: np.ndarray | None = None) -> xr.Dataset:
        """Return the Dataset of truth and observations, or what it has besides."""
        times, initial = self.network.observation_times(self.cycles), self.initial[: self.kept]
        return twin_dataset(self.carried, self.network, times, obs, truth, initial, attrs=self.attrs)


def _configuration(model: Model, network: Network, carried: Model) -> dict[str, Any]:
    """Return what rebuilds the experiment; another model and irregular times only where there are any."""
    specs = dict(model=model.spec(), operator=network.operator.spec(), error=network.error.spec())
    specs |= {} if carried is model else dict(assimilation_model=carried.spec())
    return specs | (dict(interval=network.interval) if network.times is None else dict(times=network.times))


def _check_request(model: Model, carried: Model, network: Network, cycles: int, missing: float) -> int:
    """Return how many variables of the truth are written; ValueError if the request makes no sense."""
    kept = _resolved(model, carried)
    if network.operator.state_size != kept:
        raise ValueError(f"the operator takes {network.operator.state_size} variables, the model has {kept}.")
    if cycles < 1 or not 0 <= missing < 1:
        raise ValueError(f"need `cycles` >= 1 and 0 <= `missing` < 1, got {cycles} and {missing}.")
    _steps(carried, network, cycles)
    return kept


def _resolved(model: Model, carried: Model) -> int:
    """Return how many leading variables of the truth the other model carries; ValueError if it fits neither way."""
    if carried.size == model.size or (
        "truncation" in model.offers and carried.size == model.resolved  # type: ignore[attr-defined]
    ):
        return carried.size
    raise ValueError(
        f"`assimilation_model` has {carried.size} variables, but {model.name} has {model.size}. Only a model that "
        "offers 'truncation' has resolved variables that another model may carry alone."
    )


def _steps(model: Model, network: Network, cycles: int) -> list[int]:
    """Return the model steps before each observation time; ValueError if they are not whole numbers."""
    if network.times is None:
        return [_whole_steps(model, network.interval)] * cycles
    gaps = np.diff(network.observation_times(cycles), prepend=0.0)
    return [_whole_steps(model, gap) for gap in gaps.tolist()]


def _whole_steps(model: Model, interval: float) -> int:
    steps = round(interval / model.dt)
    if steps < 1 or abs(steps * model.dt - interval) > 1e-9 * max(interval, 1.0):
        raise ValueError(
            f"the observation interval {interval:g} is not a whole number of model steps of {model.dt:g}. "
            f"Use {max(steps, 1) * model.dt:g}, or another dt."
        )
    return steps


def _trajectory(model: Model, initial: np.ndarray, steps: list[int], first: int = 0) -> np.ndarray:
    """Return the states `(cycles, Nx)` after each number of further steps; the cycles count from `first`."""
    truth = np.empty((len(steps), model.size))
    E = initial[None]
    for k, number in enumerate(steps):
        truth[k] = E = model.step(E, number)
    check_finite(truth, f"the model {model.name}, cycle", first)
    return truth


def twin_dataset(
    model: Model,
    network: Network,
    times: np.ndarray,
    obs: np.ndarray | None,
    truth: np.ndarray | None = None,
    initial: np.ndarray | None = None,
    initial_time: float = 0.0,
    attrs: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Put a truth, if there is one, and its observations into the canonical layout.

    Args:
        model: For methods to use; its `spec` is kept, so that `model_of` rebuilds it.
        network: Its operator, errors and interval are kept, so that `observations` rebuilds them.
        times: Observation times `(time,)`, model time units.
        obs: Observations `(time, Ny)`, NaN where missing; None for the layout without them.
        truth: True states `(time, Nx)`.
        initial: True state `(Nx,)` at `initial_time`.
        initial_time: When ensembles start; before `times[0]`.
        attrs: Further attributes, such as `provenance(...)`.
    """
    variables = {
        "truth": (("time", "space"), truth),
        "obs": (("time", "obs"), obs),
        "obs_location": _locations(network, times),
        "truth_initial": ("space", initial),
    }
    variance = network.error.variance
    known = {
        "model": to_json(model.spec()),
        "operator": to_json(network.operator.spec()),
        "obs_variance": float(variance[0]) if (variance == variance[0]).all() else variance,
        "interval": float(network.interval),
        "initial_time": float(initial_time),
    }
    if network.error.name != GaussianError.name:
        known["obs_error"] = to_json(network.error.spec())
    given = {name: (dims, array) for name, (dims, array) in variables.items() if array is not None}
    return flat_dataset(given, {"time": ("time", times)}, (attrs or {}) | known)


def _locations(network: Network, times: np.ndarray) -> tuple[Any, np.ndarray | None]:
    """Return the dims and the grid positions of the observations, per time if they move."""
    if isinstance(network.operator, MovingSites):
        return ("time", "obs"), np.stack([np.asarray(network.at(time).locations) for time in times])
    return "obs", network.operator.locations


def model_of(twin: xr.Dataset) -> Model:
    """Rebuild the model that methods shall use on `twin`; ScoredaError if only its code can."""
    return from_spec(spec_of(twin, "model"))


def truth_model_of(twin: xr.Dataset) -> Model:
    """Rebuild the model that made the truth of `twin`; ScoredaError if only its code can."""
    return from_spec(spec_of(twin, "truth_model" if "truth_model" in twin.attrs else "model"))


def initial_time_of(twin: xr.Dataset) -> float:
    """Return when ensembles start: `initial_time`, or where a file does not tell, one interval before `time[0]`."""
    if "initial_time" in twin.attrs:
        return float(twin.attrs["initial_time"])
    times = model_times(twin)
    interval = times[1] - times[0] if len(times) > 1 else attribute(twin, "interval")
    return float(times[0] - twin.attrs.get("interval", interval))
