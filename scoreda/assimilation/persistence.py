"""A method's state and its random generator as a netCDF file, restored to the bit, in another process if need be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from scoreda.assimilation.protocol import State
from scoreda.datasets import open_dataset, write_dataset
from scoreda.datasets.provenance import to_json
from scoreda.errors import ScoredaError
from scoreda.observations import ErrorModel, Observation, Operator, error_from_spec, operator_from_spec

__all__ = ["load_state", "save_state", "settings_of", "state_from_dataset", "state_to_dataset"]

PLAIN = (bool, int, float, str, type(None))
PARTS = ("method", "scheme", "resampling", "localisation")  # what a method may hold that has settings of its own
GENERATORS = (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)


def save_state(path: Path | str, state: State, rng: np.random.Generator) -> None:
    """Write `state` and the generator to `path`.

    Raises:
        ScoredaError: if the folder cannot be written to.
        ValueError: if the memory holds Python objects.
    """
    write_dataset(state_to_dataset(state, rng), path)


def load_state(path: Path | str, operator: Operator | None = None) -> tuple[State, np.random.Generator]:
    """Read what `save_state` wrote.

    Args:
        path: The file.
        operator: Stands in for past operators that a file cannot hold (a user's callable), of all values at a time.

    Raises:
        ScoredaError: if the file is not such a file, or such an operator is needed and not given.
    """
    with open_dataset(path, needs=("state_ensemble",)) as ds:
        return state_from_dataset(ds, operator)


def state_to_dataset(state: State, rng: np.random.Generator) -> xr.Dataset:
    """Return a Dataset whose every variable, dim and attribute begins with `state_`, so that it merges with others."""
    past = state.past
    specs = [to_json(obs.operator.spec()) for obs in past]
    operators = list(dict.fromkeys(specs))
    errors = [obs.error.spec() for obs in past]
    variables: dict[str, Any] = {
        "state_ensemble": (("state_member", "state_space"), state.ensemble),
        "state_past_time": ("state_past", np.array([obs.time for obs in past])),
        "state_past_operator": ("state_past", np.array([operators.index(spec) for spec in specs], dtype=np.int32)),
        "state_past_size": ("state_past", np.array([len(obs.values) for obs in past], dtype=np.int32)),
        "state_past_obs": ("state_past_index", np.concatenate([np.empty(0), *(obs.values for obs in past)])),
        "state_past_kept": ("state_past_index", np.concatenate([np.empty(0, np.int32), *map(_kept, past)])),
    }
    for index, (name, array) in enumerate(state.memory.items()):
        variables[f"state_memory_{index}"] = _packed(index, name, np.asarray(array))
    attrs = {"state_time": state.time, "state_rng": _generator_to_json(rng), "state_operators": to_json(operators)}
    attrs["state_errors"] = to_json(errors)
    return xr.Dataset(variables, attrs=attrs)


def state_from_dataset(ds: xr.Dataset, operator: Operator | None = None) -> tuple[State, np.random.Generator]:
    """Return the state and the generator in `ds`; `operator` as in `load_state`."""
    memory = dict(_unpacked(ds[name]) for name in ds.data_vars if str(name).startswith("state_memory_"))
    state = State(float(ds.attrs["state_time"]), ds["state_ensemble"].values, memory, _past(ds, operator))
    return state, _generator_from_json(ds.attrs["state_rng"])


def settings_of(method: Any) -> dict[str, Any]:
    """Return the settings of a method, and of what it wraps, that are plain data; `model` is that model's `spec`."""
    own = getattr(method, "__dict__", {}).items()
    found = {name: value for name, value in own if isinstance(value, PLAIN) and not name.startswith("_")}
    inner = {name: getattr(method, name) for name in PARTS if hasattr(method, name)}
    found |= {f"{name}.{key}": value for name, part in inner.items() for key, value in settings_of(part).items()}
    return found | ({"model": method.model.spec()} if hasattr(method, "model") else {})


def _past(ds: xr.Dataset, operator: Operator | None) -> tuple[Observation, ...]:
    operators = [_operator(json.loads(spec), operator) for spec in json.loads(ds.attrs["state_operators"])]
    ends = np.cumsum(ds["state_past_size"].values)  # the last end leaves an empty part behind it
    values = np.split(ds["state_past_obs"].values, ends)[:-1]
    kept = np.split(ds["state_past_kept"].values, ends)[:-1] if "state_past_kept" in ds else map(_all, values)
    columns = (
        ds["state_past_time"].values.tolist(),
        values,
        [operators[index] for index in ds["state_past_operator"].values],
        map(error_from_spec, json.loads(ds.attrs["state_errors"])),
        kept,
    )
    return tuple(_observation(*row) for row in zip(*columns, strict=True))


def _kept(obs: Observation) -> np.ndarray:
    """Return where the values stood among all of the operator's."""
    return _all(obs.values) if obs.kept is None else obs.kept.astype(np.int32)


def _all(values: np.ndarray) -> np.ndarray:
    return np.arange(len(values), dtype=np.int32)


def _observation(time: float, y: np.ndarray, H: Operator, error: ErrorModel, kept: np.ndarray) -> Observation:
    """Return an observation as it was; an operator of the user is that of all values, any other of those kept."""
    H = H.restrict(kept) if H.spec() is None and len(kept) < H.size else H
    return Observation(time, y, H, error, None if np.array_equal(kept, _all(y)) else kept)


def _operator(spec: dict[str, Any] | None, given: Operator | None) -> Operator:
    if spec is not None:
        return operator_from_spec(spec)
    if given is None:
        raise ScoredaError(
            "this state keeps observations made by a user's operator, which a file cannot hold. Pass operator=."
        )
    return given


def _packed(index: int, name: str, array: np.ndarray) -> tuple[str, np.ndarray, dict[str, str]]:
    """Return an array of any dtype and shape as bytes: netCDF has no complex, half or scalar-boolean numbers."""
    if array.dtype.hasobject:
        raise ValueError(
            f"the memory '{name}' holds Python objects, which no file of scoreda does. Keep numbers in it."
        )
    attrs = {"name": name, "dtype": array.dtype.str, "shape": to_json(array.shape)}
    return f"state_bytes_{index}", np.frombuffer(array.tobytes(), dtype=np.int8), attrs


def _unpacked(variable: xr.DataArray) -> tuple[str, np.ndarray]:
    array = np.frombuffer(variable.values.tobytes(), dtype=variable.attrs["dtype"])
    return variable.attrs["name"], array.reshape(json.loads(variable.attrs["shape"])).copy()


def _generator_to_json(rng: np.random.Generator) -> str:
    """Keep the seed sequence beside the state: `rng.spawn` draws on it."""
    bits = rng.bit_generator
    return to_json({"state": bits.state, "seed_sequence": bits.seed_seq.state})  # type: ignore[attr-defined]


def _generator_from_json(text: str) -> np.random.Generator:
    kept = json.loads(text)
    known = {generator.__name__: generator for generator in GENERATORS}
    bits = known[kept["state"]["bit_generator"]](np.random.SeedSequence(**kept["seed_sequence"]))
    bits.state = kept["state"]
    return np.random.Generator(bits)
