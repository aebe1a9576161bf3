"""The climate of a model: independent states on its attractor, their mean and covariance."""

from dataclasses import dataclass

import numpy as np

from scoreda.datasets.layout import check_finite
from scoreda.models import Model, seeded

__all__ = ["Climatology", "climate_states", "climatology"]

SPACING = (
    5.0  # model time units between two states of one trajectory: several error-doubling times of any chaotic model
)


@dataclass(frozen=True, eq=False)
class Climatology:
    """Mean `(Nx,)`, covariance `(Nx, Nx)` and the states `(samples, Nx)` they were computed from."""

    mean: np.ndarray
    cov: np.ndarray
    states: np.ndarray

    @classmethod
    def of(cls, states: np.ndarray) -> "Climatology":
        """Return the climatology of `(..., Nx)` states, such as an archive's; every leading axis counts samples.

        Raises:
            ValueError: if there are fewer than 2 states or one is not finite.
        """
        states = np.asarray(states, dtype=np.float64)
        states = states.reshape(-1, states.shape[-1])
        if len(states) < 2:
            raise ValueError(f"need at least 2 states for a covariance, got {len(states)}. Pass more.")
        check_finite(states, "states of the climatology")
        return cls(states.mean(axis=0), np.atleast_2d(np.cov(states.T)), states)

    def on(self, points: np.ndarray) -> "Climatology":
        """Return the climatology of some of the variables."""
        return Climatology(self.mean[points], self.cov[np.ix_(points, points)], self.states[:, points])


def climate_states(model: Model, members: int, rng: np.random.Generator, spinup: float = 20.0) -> np.ndarray:
    """Return `(members, Nx)` independent states on the attractor of `model`.

    Args:
        model: Needs `random_states`.
        members: Number of states.
        rng: The only source of randomness.
        spinup: Model time units discarded after the rough start.

    Raises:
        ScoredaError: if the model blows up.
    """
    model = seeded(model, rng)
    E = model.step(model.random_states(members, rng), round(spinup / model.dt))
    check_finite(E, f"the model {model.name}, member after spin-up")
    return E


def climatology(
    model: Model, rng: np.random.Generator, samples: int = 4000, trajectories: int = 400, spinup: float = 20.0
) -> Climatology:
    """Return the climatology of `samples` states, some 5 time units apart on each of `trajectories` independent runs.

    Raises:
        ValueError: if `samples < 2` or `trajectories < 1`.
        ScoredaError: if the model blows up.
    """
    if samples < 2 or trajectories < 1:
        raise ValueError(f"need `samples` >= 2 and `trajectories` >= 1, got {samples} and {trajectories}.")
    trajectories, model = min(trajectories, samples), seeded(model, rng)
    E = climate_states(model, trajectories, rng, spinup)
    visits = [E]
    for _ in range(-(-samples // trajectories) - 1):
        E = model.step(E, max(1, round(SPACING / model.dt)))
        visits.append(E)
    return Climatology.of(np.concatenate(visits)[:samples])
