"""The lag of a smoother: an ensemble at the start of a window, and the observation times since.

It lives in the memory of a state as `start` `(N, Nx)` and `times` `(K + 1,)`, the first of which is that of the
ensemble.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scoreda.assimilation.protocol import Info, State, forecast_to, innovation_chi2
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["Flow", "Lag", "forecast_and_smooth"]


class Lag(NamedTuple):
    """An ensemble `start` `(N, Nx)` at the first of `times`; the others are observation times."""

    start: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, state: State) -> "Lag":
        """Return the lag in the memory of a state."""
        return cls(state.memory["start"], state.memory["times"])

    @property
    def memory(self) -> dict[str, np.ndarray]:
        """What a state has to keep."""
        return {"start": self.start, "times": self.times}

    def slid(self, time: float, length: int, flow: "Flow") -> "Lag":
        """Admit an observation time, and run the start forward until at most `length` of them lie after it."""
        start, times = self.start, np.append(self.times, time)
        while len(times) > length + 1:
            start, times = flow(start, times[0], times[1]), times[1:]
        return Lag(start, times)


class Flow:
    """The model from one time to another, with its steps counted.

    A random model has the same errors in every run from the same time, so what an iteration compares differs by the
    start alone.
    """

    def __init__(self, model: Model, rng: np.random.Generator) -> None:
        self.model, self.rng, self.steps = model, rng, 0
        self.seed = int(rng.integers(2**63)) if "random" in model.offers else None

    def __call__(self, E: np.ndarray, start: float, end: float) -> np.ndarray:
        """Advance `E` `(N, Nx)` from `start` to `end`."""
        E, steps = forecast_to(self.model, E, start, end, self._errors(start))
        self.steps += steps * len(E)
        return E

    def _errors(self, start: float) -> np.random.Generator:
        if self.seed is None:
            return self.rng
        return np.random.default_rng([self.seed, abs(round(start / self.model.dt))])


Smoothing = Callable[[State, Lag, Observation, Flow], tuple[State, int]]


def forecast_and_smooth(
    model: Model, length: int, state: State, obs: Observation, rng: np.random.Generator, smooth: Smoothing
) -> tuple[State, Info]:
    """Forecast to `obs.time` and, if there is anything to learn, move the window on and give it the observation.

    `smooth(forecast, lag, obs, flow)` returns the state given `obs` and the iterations it took.
    """
    flow = Flow(model, rng)
    prior = flow(state.ensemble, state.time, obs.time)
    obs, iterations = obs.present(), 0
    after = state.replace(time=obs.time, ensemble=prior)
    if not obs.is_empty and np.isfinite(prior).all():
        after, iterations = smooth(after, Lag.of(state).slid(obs.time, length, flow), obs, flow)
    diagnostics = dict(chi2=innovation_chi2(prior, obs), model_steps=float(flow.steps), iterations=float(iterations))
    return after, Info(prior, diagnostics)
