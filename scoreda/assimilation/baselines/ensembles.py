"""What the baselines share: the frame of a step, and operations on ensembles."""

from collections.abc import Callable

import numpy as np
from numba import njit

from scoreda.assimilation.baselines.tridiagonal_kernels import OPTIONS, rotation_matrix
from scoreda.assimilation.protocol import Info, State, forecast_to, innovation_chi2
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = [
    "checked_inflation",
    "conclude",
    "forecast_and_analyse",
    "inflated",
    "inflated_split",
    "rotation",
    "split",
    "split_kernel",
]

FEW = 50_000  # numbers up to which one kernel is faster than calls of NumPy; far above it is slower

Analysis = Callable[[np.ndarray, Observation], np.ndarray | tuple[np.ndarray, dict[str, float]]]


def forecast_and_analyse(
    model: Model, state: State, obs: Observation, rng: np.random.Generator, analyse: Analysis
) -> tuple[State, Info]:
    """Forecast the ensemble to `obs.time` and update it with `analyse(E, obs)`."""
    prior, steps = forecast_to(model, state.ensemble, state.time, obs.time, rng)
    return conclude(state, prior, obs, analyse, model_steps=len(prior) * steps)


def conclude(
    state: State, prior: np.ndarray, obs: Observation, analyse: Analysis, model_steps: int
) -> tuple[State, Info]:
    """Update `prior` with the values present; an empty observation, or a diverged prior, leaves it as it is.

    `analyse` returns the new ensemble, or that and further diagnostics.
    """
    obs = obs.present()
    diagnostics = dict(chi2=innovation_chi2(prior, obs), model_steps=float(model_steps))
    useful = not obs.is_empty and np.isfinite(prior).all()
    analysed = analyse(prior, obs) if useful else prior
    analysis, further = analysed if isinstance(analysed, tuple) else (analysed, {})
    return State(obs.time, analysis, state.memory, state.past), Info(prior, diagnostics | further)


def split(E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ensemble mean and the anomalies of `E` `(N, n)`."""
    return inflated_split(E, 1.0)


def inflated_split(E: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of `E` `(N, n)` and its anomalies scaled by `factor`, so the covariance by its square."""
    if E.size <= FEW:
        return split_kernel(E, factor)
    mean = E.sum(0) / len(E)
    A = E - mean
    if factor != 1:
        A *= factor  # in place: ensembles of a large grid are most of the memory
    return mean, A


@njit(**OPTIONS)
def split_kernel(E: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of `E` `(N, n)` and its anomalies scaled by `factor`."""
    mean, A = np.zeros(E.shape[1]), np.empty(E.shape)
    for row in E:
        for j in range(mean.size):
            mean[j] += row[j]
    mean /= len(E)
    for i in range(len(E)):
        for j in range(mean.size):
            A[i, j] = (E[i, j] - mean[j]) * factor
    return mean, A


def inflated(E: np.ndarray, factor: float) -> np.ndarray:
    """Return `E` with its anomalies scaled by `factor`."""
    mean, A = inflated_split(E, factor)
    A += mean
    return A


def checked_inflation(factor: float) -> float:
    """Return the inflation factor; ValueError if it is not positive and finite."""
    if not (np.isfinite(factor) and factor > 0):
        raise ValueError(
            f"`inflation` must be positive, got {factor}. It scales the anomalies; 1 leaves them as they are."
        )
    return float(factor)


def rotation(N: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a random orthogonal matrix `(N, N)`, uniform among those that keep the vector of ones.

    Applied to the rows of an anomaly matrix it changes neither their mean nor their covariance.
    Source: Sakov and Oke (2008), https://doi.org/10.1175/2007MWR2021.1
    """
    return rotation_matrix(rng.standard_normal((N - 1, N - 1)))
