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
from scoreda.models import Model, from_spec
from scoreda.observations import GaussianError, Network, Observation, Operator, operator_from_spec

__all__ = ["attribute", "model_of", "observations", "simulate", "twin_dataset"]


def simulate(
    model: Model, network: Network, cycles: int, seed: int, spinup: float = 20.0, missing: float = 0.0
) -> xr.Dataset:
    """Simulate a twin experiment.

    Args:
        model: Makes the truth; needs `random_states`.
        network: What is observed, how well and how often; the interval is a whole number of model steps.
        cycles: Number of observation times. The first is one interval after the initial state.
        seed: Start, observation errors and gaps draw from independent children of this seed.
        spinup: Model time units from a rough start to the initial state.
        missing: Fraction of the values that is lost (NaN), at random.

    Returns:
        A Dataset as `twin_dataset` describes it, with provenance.

    Raises:
        ValueError: if the sizes, the interval, `cycles` or `missing` do not fit.
        ScoredaError: if the model blows up.
    """
    steps = _check_request(model, network, cycles, missing)
    start, errors, gaps = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3))
    initial = climate_states(model, 1, start, spinup)[0]
    truth = _trajectory(model, initial, steps, cycles)
    obs = network.operator(truth) + np.stack([network.error.sample(errors) for _ in range(cycles)])
    obs[gaps.random(obs.shape) < missing] = np.nan
    times = network.interval * np.arange(1, cycles + 1)
    settings = dict(interval=network.interval, cycles=cycles, spinup=spinup, missing=missing)
    specs = dict(model=model.spec(), operator=network.operator.spec(), error=network.error.spec(), **settings)
    return twin_dataset(
        model, network, times, obs, truth, initial, attrs=provenance(f"{model.name} twin experiment", seed, **specs)
    )


def _check_request(model: Model, network: Network, cycles: int, missing: float) -> int:
    """Return the model steps in one interval; ValueError if the request makes no sense."""
    if network.operator.state_size != model.size:
        raise ValueError(f"the operator takes {network.operator.state_size} variables, the model has {model.size}.")
    if cycles < 1 or not 0 <= missing < 1:
        raise ValueError(f"need `cycles` >= 1 and 0 <= `missing` < 1, got {cycles} and {missing}.")
    steps = round(network.interval / model.dt)
    if steps < 1 or abs(steps * model.dt - network.interval) > 1e-9 * network.interval:
        raise ValueError(
            f"the observation interval {network.interval:g} is not a whole number of model steps of {model.dt:g}. "
            f"Use {max(steps, 1) * model.dt:g}, or another dt."
        )
    return steps


def _trajectory(model: Model, initial: np.ndarray, steps: int, cycles: int) -> np.ndarray:
    """Return the states `(cycles, Nx)` after 1, 2, ... intervals."""
    truth = np.empty((cycles, model.size))
    E = initial[None]
    for k in range(cycles):
        truth[k] = E = model.step(E, steps)
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
        model: Its `spec` is kept, so that `model_of` rebuilds it.
        network: Its operator, error variance and interval are kept, so that `observations` rebuilds them.
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
        "obs_location": ("obs", network.operator.locations),
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
    given = {name: (dims, array) for name, (dims, array) in variables.items() if array is not None}
    return flat_dataset(given, {"time": ("time", times)}, (attrs or {}) | known)


def observations(
    twin: xr.Dataset, operator: Operator | None = None, error: GaussianError | None = None
) -> Iterator[Observation]:
    """Iterate over the observations of a twin, one batch per time.

    Args:
        twin: A twin experiment, or a user's file in its layout.
        operator: In place of the one in the attributes; needed where that was a user's callable.
        error: In place of the variance in the attributes.

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
    error = error or GaussianError(attribute(twin, "obs_variance"), operator.size)
    return (Observation(float(time), y, operator, error) for time, y in zip(model_times(twin), values, strict=True))


def _check_values(twin: xr.Dataset) -> np.ndarray:
    """Return `obs` as float64 `(time, Ny)`; ScoredaError if it is not fit for use."""
    if "obs" not in twin.variables:
        raise ScoredaError(f"the dataset has no variable 'obs'; {suggest('obs', map(str, twin.variables))}")
    if twin["obs"].dims != ("time", "obs"):
        raise ScoredaError(f"`obs` must have dims (time, obs), got {twin['obs'].dims}. Transpose or rename them.")
    values = twin["obs"].values.astype(np.float64)
    if np.isnan(values).all():
        raise ScoredaError("`obs` holds nothing but NaN. There is nothing to assimilate.")
    if np.isinf(values).any():
        raise ScoredaError("`obs` holds infinite values. Mark missing values with NaN.")
    return values


def model_of(twin: xr.Dataset) -> Model:
    """Rebuild the model that made `twin`; ScoredaError if only its code can."""
    return from_spec(_spec(twin, "model"))


def attribute(twin: xr.Dataset, name: str) -> Any:
    """Return an attribute of a twin; ScoredaError if it is missing."""
    if name not in twin.attrs:
        raise ScoredaError(
            f"the dataset has no attribute '{name}'. Make it with `twin_dataset`, or set twin.attrs['{name}']."
        )
    return twin.attrs[name]


def _spec(twin: xr.Dataset, name: str) -> dict[str, Any]:
    """Return the model's or operator's settings from the attributes."""
    spec = json.loads(attribute(twin, name))
    if spec is None:
        raise ScoredaError(f"the {name} of this twin was a user's callable, which a file cannot hold. Pass {name}=.")
    return spec
