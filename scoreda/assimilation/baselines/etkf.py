"""The ensemble transform Kalman filter."""

import numpy as np

from scoreda.assimilation.baselines.ensembles import (
    checked_inflation,
    forecast_and_analyse,
    inflated_split,
    rotation,
    split,
)
from scoreda.assimilation.baselines.kernels import square_root_update
from scoreda.assimilation.baselines.member_space import whitened_residuals
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["ETKF"]


class ETKF:
    r"""Ensemble transform Kalman filter: the symmetric square root, without perturbed observations.

    $$ \bar x^a = \bar x + A^\top C^{-1} Y R^{-1} d, \quad A^a = \sqrt{N-1}\, C^{-1/2} A, \quad
       C = (N-1) I + Y R^{-1} Y^\top $$

    with A `(N, Nx)` and Y `(N, Ny)` the anomalies of the inflated forecast and of its image under the operator, and d
    the innovation of the mean.

    Args:
        model: The forecast model.
        inflation: Factor on the forecast anomalies before the analysis.
        rotate: Whether to mix the analysis anomalies by a random rotation that keeps their mean and covariance; it
            prevents the outliers that a deterministic filter breeds in a nonlinear model.

    Exact when: the operator is linear; mean and covariance are then the Kalman update with the sample covariance.
    Source: Bishop et al. (2001), https://doi.org/10.1175/1520-0493(2001)129<0420:ASWTET>2.0.CO;2; symmetric form and
    rotation: Sakov and Oke (2008), https://doi.org/10.1175/2007MWR2021.1
    """

    name = "etkf"

    def __init__(self, model: Model, inflation: float = 1.0, rotate: bool = True) -> None:
        self.model, self.inflation, self.rotate = model, checked_inflation(inflation), rotate

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, then shift the mean and transform the anomalies."""
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: self._analyse(E, obs, rng))

    def _analyse(self, E: np.ndarray, obs: Observation, rng: np.random.Generator) -> np.ndarray:
        mean, A = inflated_split(E, self.inflation)
        increment, A = square_root_update(A, *_observed(mean + A, obs))
        return mean + increment + (rotation(len(A), rng) @ A if self.rotate else A)


def _observed(E: np.ndarray, obs: Observation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the observed anomalies `(N, Ny)`, the precisions of their errors and the innovation of the mean `(Ny,)`.

    Correlated errors are made white first.
    """
    if not obs.error.independent:
        d, Y = whitened_residuals(E, obs)
        return Y, np.ones(d.size), d
    Hx, Y = split(obs.operator(E))
    return Y, 1 / obs.error.variance, obs.values - Hx
