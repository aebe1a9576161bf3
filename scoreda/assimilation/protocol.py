"""The protocol of every assimilation method: a state, and a step that forecasts and then analyses.

    state = method.init(ensemble)
    state, info = method.step(state, obs, rng)

`state` holds what the next step needs and nothing else; `info` holds the prior ensemble and the diagnostics.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit

from scoreda.models import Model, seeded
from scoreda.observations import Observation

__all__ = ["Info", "Method", "State", "Traits", "check_ensemble", "forecast_to", "innovation_chi2", "whole_steps"]


@dataclass(frozen=True)
class State:
    """What the next step needs.

    Attributes:
        time: Model time of `ensemble`.
        ensemble: Members as rows, `(N, Nx)`.
        memory: Further arrays a method keeps between steps.
        past: Observations that a window method still needs, oldest first.
    """

    time: float
    ensemble: np.ndarray
    memory: dict[str, np.ndarray] = field(default_factory=dict)
    past: tuple[Observation, ...] = ()

    def replace(self, **changes: Any) -> "State":
        """Return a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Info:
    """What a step did: the forecast ensemble before the update, and named numbers."""

    prior: np.ndarray
    diagnostics: dict[str, float] = field(default_factory=dict)


class Method(Protocol):
    """An assimilation method; where it is not as wrappers take it to be, class attributes say so: see `Traits`."""

    name: str

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)` at `time`."""
        ...

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, analyse, and return the new state with its diagnostics."""
        ...


class Traits(NamedTuple):
    """What a wrapper has to know of a method, with the defaults of a filter.

    A method that differs says so by a class attribute of that name; a wrapper has the traits of its `method`.

    Attributes:
        takes_forecast: Whether a forecast of `state.ensemble` by its `model` may be made outside: `step` from there to
            the same time is the step.
        analyses_forecast: Whether that forecast, as it is given, is what it analyses, and not a start of a window.
        keeps_members: Whether a member of the analysis descends from the member of the forecast in the same row; what
            `rotate` does to that is a setting.
    """

    takes_forecast: bool = True
    analyses_forecast: bool = True
    keeps_members: bool = True

    @classmethod
    def of(cls, method: Any) -> "Traits":
        """Return the traits of a method, or of a wrapper around one."""
        inner = cls.of(method.method) if hasattr(method, "method") else cls()
        return inner._replace(**{name: getattr(method, name) for name in cls._fields if hasattr(method, name)})


def check_ensemble(ensemble: np.ndarray, size: int, least: int = 2) -> np.ndarray:
    """Return the ensemble as a float64 copy; ValueError if its shape is wrong, it is too small, or not finite."""
    E = np.array(ensemble, dtype=np.float64)
    if E.ndim != 2 or E.shape[1] != size:
        raise ValueError(f"the ensemble must have shape (members, {size}), got {E.shape}.")
    if len(E) < least:
        raise ValueError(f"`members` must be at least {least}, got {len(E)}. Pass a larger ensemble.")
    if not np.isfinite(E).all():
        raise ValueError("the initial ensemble holds NaN or Inf.")
    return E


def whole_steps(model: Model, start: float, end: float) -> int:
    """Return the number of model steps from `start` to `end`; ValueError if it is negative or not a whole number.

    A millionth of a step is forgiven, and what rounding does to the times, up to a tenth of a step.
    """
    steps = round((end - start) / model.dt)
    off = abs(steps * model.dt - (end - start))
    if steps < 0 or (off > 1e-6 * model.dt and off > min(_rounding(start, end), 0.1 * model.dt)):
        raise ValueError(
            f"cannot step from time {start:g} to {end:g} with dt = {model.dt:g}. Observation times must follow one "
            "another at whole numbers of model steps."
        )
    return steps


def _rounding(*times: float) -> float:
    """Return how far apart rounding may bring times: four units in the last place, of single precision if all fit."""
    kept = np.array(times)
    single = kept.astype(np.float32)
    return 4 * float(np.spacing(abs(single if np.array_equal(single, kept) else kept)).max())


def forecast_to(
    model: Model, E: np.ndarray, start: float, end: float, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Advance `E` from `start` to `end`; returns it with the model steps taken.

    `rng` is what a random model draws its errors from; other models leave it alone.

    Raises:
        ValueError: if the interval is negative or not a whole number of model steps.
    """
    steps = whole_steps(model, start, end)
    return (seeded(model, rng).step(E, steps) if steps else E.copy()), steps


def innovation_chi2(E: np.ndarray, obs: Observation) -> float:
    """Return the mean of d^2 / (var(H E) + R) over the observations; 1 for a consistent filter."""
    return float(_mean_square_ratio(np.ascontiguousarray(obs.operator(E)), obs.values, obs.error.variance))


@njit(cache=True, error_model="numpy")
def _mean_square_ratio(HE: np.ndarray, values: np.ndarray, error_variance: np.ndarray) -> float:
    mean, variance = np.zeros(values.size), np.zeros(values.size)
    for row in HE:
        for j in range(values.size):
            mean[j] += row[j]
    mean /= len(HE)
    for row in HE:
        for j in range(values.size):
            variance[j] += (row[j] - mean[j]) ** 2
    total = 0.0
    for j in range(values.size):
        total += (values[j] - mean[j]) ** 2 / (variance[j] / (len(HE) - 1) + error_variance[j])
    return total / values.size
