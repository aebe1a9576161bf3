"""The lag of a smoother: an ensemble at the start of a window, and the observation times since.

It lives in the memory of a state as `start` `(N, Nx)` and `times` `(K + 1,)`, the first of which is that of the
ensemble.
"""

from typing import NamedTuple

import numpy as np

from scoreda.assimilation.protocol import State, forecast_to
from scoreda.models import Model

__all__ = ["Flow", "Lag"]


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
