"""Particles that keep their weights, and the equally weighted ensemble that stands for them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scoreda.assimilation.baselines.resampling import Resampling, effective_size, normalised, systematic
from scoreda.assimilation.protocol import Info, State, innovation_chi2
from scoreda.observations import Observation

__all__ = ["Weighted", "conclude_weighted", "reweighted"]


class Weighted(NamedTuple):
    """Particles with weights, in the memory of a state under the names of its fields.

    Particles of equal weight are the ensemble itself, and need no memory.

    Attributes:
        particles: `(N, Nx)`.
        log_weights: Logarithms of the weights `(N,)`, the largest 0.
        drawn: Indices `(N,)` of those that stand for all of them, equally weighted.
    """

    particles: np.ndarray
    log_weights: np.ndarray
    drawn: np.ndarray

    @classmethod
    def equally(cls, E: np.ndarray) -> "Weighted":
        """Return particles `E` `(N, Nx)` of equal weight."""
        return cls(E, np.zeros(len(E)), np.arange(len(E)))

    @classmethod
    def of(cls, state: State) -> "Weighted":
        """Return the particles of a state."""
        if "log_weights" not in state.memory:
            return cls.equally(state.ensemble)
        return cls(*(state.memory[name] for name in cls._fields))

    @property
    def is_equal(self) -> bool:
        """Whether no particle counts more than another."""
        return not self.log_weights.any()

    @property
    def ensemble(self) -> np.ndarray:
        """Equally weighted members `(N, Nx)`; the particles if one is not finite, for a divergence to be seen."""
        if self.is_equal or not np.isfinite(self.particles).all():
            return self.particles
        return self.particles[self.drawn]

    def state(self, before: State, time: float) -> State:
        """Return the state with these particles; what else was in the memory stays."""
        others = {name: array for name, array in before.memory.items() if name not in self._fields}
        own = {} if self.is_equal else self._asdict()
        return before.replace(time=time, ensemble=self.ensemble, memory=others | own)


Analysis = Callable[[Weighted, Observation], tuple[Weighted, dict[str, float]]]


def conclude_weighted(
    state: State, forecast: Weighted, obs: Observation, analyse: Analysis, model_steps: int
) -> tuple[State, Info]:
    """Update particles with the values present, as `conclude` does an ensemble."""
    obs, prior = obs.present(), forecast.ensemble
    diagnostics = dict(chi2=innovation_chi2(prior, obs), model_steps=float(model_steps))
    useful = not obs.is_empty and np.isfinite(prior).all()
    after, further = analyse(forecast, obs) if useful else (forecast, {})
    return after.state(state, obs.time), Info(prior, diagnostics | further)


def reweighted(
    before: Weighted, log_likelihood: np.ndarray, resampling: Resampling, rng: np.random.Generator
) -> tuple[Weighted, dict[str, float]]:
    """Return the particles given the likelihoods `(N,)`, resampled if that is due, and the effective sample size."""
    log_weights = _updated(before.log_weights, log_likelihood)
    w = normalised(log_weights)
    if resampling.is_due(w):
        after = Weighted.equally(resampling(before.particles, w, rng))
    else:
        after = Weighted(before.particles, log_weights, systematic(w, rng))
    return after, dict(ess=effective_size(w))


def _updated(log_weights: np.ndarray, log_likelihood: np.ndarray) -> np.ndarray:
    """Return the new logarithms, the largest 0; the old ones where no particle could have made the observation."""
    total = log_weights + log_likelihood
    largest = total.max()
    return total - largest if np.isfinite(largest) else log_weights
