"""What the filters share that take one observation after the other."""

from collections.abc import Iterator

import numpy as np

from scoreda.assimilation.localisation import Localisation, Neighbourhoods, located
from scoreda.observations import Observation

__all__ = ["check_independent", "joint", "joint_neighbourhoods", "singles"]


def check_independent(obs: Observation, method: str) -> None:
    """Raise ValueError if the errors are correlated: such observations cannot be taken, or tapered, one by one."""
    if not obs.error.independent:
        raise ValueError(
            f"{method} takes or tapers observations one by one, so their errors must be independent, got "
            f"'{obs.error.name}'. Use StochasticEnKF or DEnKF."
        )


def singles(obs: Observation) -> Iterator[Observation]:
    """Yield the observations one by one."""
    for j in range(obs.operator.size):
        at = np.array([j])
        yield Observation(obs.time, obs.values[at], obs.operator.restrict(at), obs.error.restrict(at))


def joint(E: np.ndarray, obs: Observation) -> np.ndarray:
    """Return the variables and, below them, what is observed, one per row `(Nx + Ny, N)`."""
    return np.vstack([E.T, obs.operator(E).T])


def joint_neighbourhoods(
    localisation: Localisation | None, obs: Observation, state_size: int, method: str
) -> Neighbourhoods:
    """Return for each observation the rows of `joint` near it and their tapers; all rows without localisation.

    Raises:
        ValueError: if the localisation needs locations that the operator does not have.
    """
    rows, Ny = state_size + obs.operator.size, obs.operator.size
    if localisation is None:
        return Neighbourhoods(np.arange(Ny + 1) * rows, np.tile(np.arange(rows), Ny), np.ones(rows * Ny))
    places = located(obs.operator, method)
    return localisation.near(np.concatenate([np.arange(state_size), places]), state_size, places)
