"""Twin experiments: a known truth, and observations of it with known errors."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from scoreda.datasets.climatology import climate_states
from scoreda.datasets.layout import check_finite, flat_dataset, model_times, provenance
from scoreda.datasets.provenance import to_json
from scoreda.errors import ScoredaError, suggest
from scoreda.models import Model, from_spec, seeded
from scoreda.observations import (
    ErrorModel,
    GaussianError,
    MovingSites,
    Network,
    Observation,
    Operator,
    error_from_spec,
    operator_at,
    operator_from_spec,
)

__all__ = ["attribute", "initial_time_of", "model_of", "observations", "simulate", "truth_model_of", "twin_dataset"]


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
    carried = assimilation_model or model
    kept = _check_request(model, carried, network, cycles, missing)
    start, errors, gaps, noise = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
    initial = climate_states(model, 1, start, spinup)[0]
    truth = _trajectory(seeded(model, noise), initial, _steps(model, network, cycles))[:, :kept]
    times = network.observation_times(cycles)
    obs = np.stack([network.at(time)(x) + network.error.sample(errors) for time, x in zip(times, truth, strict=True)])
    obs[gaps.random(obs.shape) < missing] = np.nan
    specs = _configuration(model, network, carried) | dict(cycles=cycles, spinup=spinup, missing=missing)
    attrs = provenance(f"{model.name} twin experiment", seed, **specs)
    attrs |= {} if carried is model else {"truth_model": to_json(model.spec())}
    return twin_dataset(carried, network, times, obs, truth, initial[:kept], attrs=attrs)


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


def _trajectory(model: Model, initial: np.ndarray, steps: list[int]) -> np.ndarray:
    """Return the states `(cycles, Nx)` after each number of further steps."""
    truth = np.empty((len(steps), model.size))
    E = initial[None]
    for k, number in enumerate(steps):
        truth[k] = E = model.step(E, number)
    check_finite(truth, f"the model {model.name}, cycle")
    return truth


def twin_dataset(
    model: Model,
    network: Network,
    times: np.ndarray,
    obs: np.ndarray,
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
        obs: Observations `(time, Ny)`, NaN where missing.
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


def observations(
    twin: xr.Dataset, operator: Operator | MovingSites | None = None, error: ErrorModel | None = None
) -> Iterator[Observation]:
    """Iterate over the observations of a twin, one batch per time.

    Args:
        twin: A twin experiment, or a user's file in its layout.
        operator: In place of the one in the attributes; needed where that was a user's callable.
        error: In place of the one in the attributes.

    Raises:
        ScoredaError: at once, if `obs` is missing, of the wrong shape, empty or infinite, or the operator is not known.
    """
    values = _check_values(twin)
    operator = operator or operator_from_spec(_spec(twin, "operator"))
    if values.shape[1] != operator.size:
        raise ScoredaError(
            f"`obs` has {values.shape[1]} values per time, the operator {operator.size}. Mark missing values with NaN "
            "instead of leaving them out, or pass the operator= that fits."
        )
    error = error or _error_of(twin, operator.size)
    return (
        Observation(float(time), y, operator_at(operator, time), error)
        for time, y in zip(model_times(twin), values, strict=True)
    )


def _error_of(twin: xr.Dataset, size: int) -> ErrorModel:
    """Return the error model in the attributes; a variance alone is that of Gaussian errors."""
    if "obs_error" in twin.attrs:
        return error_from_spec(json.loads(twin.attrs["obs_error"]))
    return GaussianError(attribute(twin, "obs_variance", "error=GaussianError(variance, size)"), size)


def _check_values(twin: xr.Dataset) -> np.ndarray:
    """Return `obs` as float64 `(time, Ny)`; ScoredaError if it is not fit for use."""
    if "obs" not in twin.variables:
        raise ScoredaError(f"the dataset has no variable 'obs'; {suggest('obs', map(str, twin.variables))}")
    if twin["obs"].dims != ("time", "obs"):
        raise ScoredaError(f"`obs` must have dims (time, obs), got {twin['obs'].dims}. Transpose or rename them.")
    if twin["obs"].dtype.kind not in "fiu":
        raise ScoredaError(f"`obs` must hold numbers, got {twin['obs'].dtype}. Convert them, with NaN where missing.")
    values = twin["obs"].values.astype(np.float64)
    if np.isnan(values).all():
        raise ScoredaError("`obs` holds nothing but NaN. There is nothing to assimilate.")
    if np.isinf(values).any():
        raise ScoredaError("`obs` holds infinite values. Mark missing values with NaN.")
    return values


def model_of(twin: xr.Dataset) -> Model:
    """Rebuild the model that methods shall use on `twin`; ScoredaError if only its code can."""
    return from_spec(_spec(twin, "model"))


def truth_model_of(twin: xr.Dataset) -> Model:
    """Rebuild the model that made the truth of `twin`; ScoredaError if only its code can."""
    return from_spec(_spec(twin, "truth_model" if "truth_model" in twin.attrs else "model"))


def initial_time_of(twin: xr.Dataset) -> float:
    """Return when ensembles start: `initial_time`, or where a file does not tell, one interval before `time[0]`."""
    if "initial_time" in twin.attrs:
        return float(twin.attrs["initial_time"])
    times = model_times(twin)
    interval = times[1] - times[0] if len(times) > 1 else attribute(twin, "interval")
    return float(times[0] - twin.attrs.get("interval", interval))


def attribute(twin: xr.Dataset, name: str, instead: str = "") -> Any:
    """Return an attribute of a twin; ScoredaError if it is missing, naming the argument that would do `instead`."""
    if name not in twin.attrs:
        fix = f"Pass {instead}" if instead else "Make it with `twin_dataset`"
        raise ScoredaError(f"the dataset has no attribute '{name}'. {fix}, or set twin.attrs['{name}'].")
    return twin.attrs[name]


def _spec(twin: xr.Dataset, name: str) -> dict[str, Any]:
    """Return the model's or operator's settings from the attributes."""
    spec = json.loads(attribute(twin, name, f"{name}="))
    if spec is None:
        raise ScoredaError(f"the {name} of this twin was a user's callable, which a file cannot hold. Pass {name}=.")
    return spec
