"""The ensemble Kalman filter with perturbed observations."""

import numpy as np

from scoreda.assimilation.baselines.ensembles import checked_inflation, forecast_and_analyse, inflated, split
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["StochasticEnKF"]


class StochasticEnKF:
    r"""Stochastic ensemble Kalman filter.

    $$ E^a = E + (y + \varepsilon - h(E))\, K^\top, \quad K = P H^\top (H P H^\top + R)^{-1} $$

    with the covariances of the inflated forecast ensemble and its image h(E), and perturbations whose mean over the
    members is zero.

    Args:
        model: The forecast model.
        inflation: Factor on the forecast anomalies before the analysis.

    Exact when: `h` linear, N -> inf; error O(N^-1/2).
    Source: Burgers et al. (1998), https://doi.org/10.1175/1520-0493(1998)126<1719:ASITEK>2.0.CO;2
    """

    name = "enkf"

    def __init__(self, model: Model, inflation: float = 1.0) -> None:
        self.model, self.inflation = model, checked_inflation(inflation)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, then pull every member towards its own perturbed observation."""
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: self._analyse(E, obs, rng))

    def _analyse(self, E: np.ndarray, obs: Observation, rng: np.random.Generator) -> np.ndarray:
        E = inflated(E, self.inflation)
        HE = obs.operator(E)
        _, eps = split(obs.error.std * rng.normal(size=HE.shape))
        return E + increments(split(E)[1], split(HE)[1], obs.error.variance, obs.values + eps - HE)


def increments(A: np.ndarray, Y: np.ndarray, R: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Return `D K^T` `(N, Nx)` for innovations `D` `(N, Ny)`, solving in the smaller of observation and member space.

    Args:
        A: State anomalies `(N, Nx)`.
        Y: Observed anomalies `(N, Ny)`.
        R: Error variances `(Ny,)`.
        D: One innovation per member.
    """
    N, Ny = Y.shape
    if Ny <= N:
        return D @ np.linalg.solve(Y.T @ Y + (N - 1) * np.diag(R), Y.T @ A)
    S = Y / R
    return D @ S.T @ np.linalg.solve(S @ Y.T + (N - 1) * np.eye(N), A)
