"""The ensemble Kalman smoother."""

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count
from scoreda.assimilation.baselines.ensembles import checked_inflation, inflated, rotation
from scoreda.assimilation.baselines.member_space import Hessian, Weights, whitened_residuals
from scoreda.assimilation.protocol import Info, State, check_ensemble, forecast_to, innovation_chi2
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["EnKS"]


class EnKS:
    """Ensemble Kalman smoother: the ETKF, whose every update also goes to the ensembles of the last times.

    The analysis is the ETKF's. `state.memory["smoothed"]` `(K, N, Nx)` holds the ensembles at the times
    `state.memory["times"]` `(K,)`, oldest first: the present one and up to `lag` before it, each given all observations
    so far.

    Args:
        model: The forecast model.
        lag: Number of earlier observation times that are updated.
        inflation: Factor on the forecast anomalies before the analysis.
        rotate: Whether to mix the anomalies by a random rotation, the same at all times.

    Exact when: model and operator are linear: the Kalman smoother with the sample covariance.
    Source: Evensen and van Leeuwen (2000), https://doi.org/10.1175/1520-0493(2000)128<1852:AEKSFN>2.0.CO;2
    """

    name = "enks"

    def __init__(self, model: Model, lag: int = 10, inflation: float = 1.0, rotate: bool = True) -> None:
        self.model, self.lag = model, checked_count("lag", lag, least=0)
        self.inflation, self.rotate = checked_inflation(inflation), rotate

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        E = check_ensemble(ensemble, self.model.size)
        return State(time, E, {"smoothed": E[None], "times": np.array([time])})

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time` and update the present and the past."""
        prior, steps = forecast_to(self.model, state.ensemble, state.time, obs.time, rng)
        past, obs, E = list(state.memory["smoothed"]), obs.present(), prior
        if not obs.is_empty and np.isfinite(prior).all():
            E = inflated(prior, self.inflation)
            weights = self._weights(E, obs, rng)
            E, past = weights(E), [weights(earlier) for earlier in past]
        diagnostics = dict(chi2=innovation_chi2(prior, obs), model_steps=float(steps * len(prior)))
        smoothed, times = np.stack([*past, E]), np.append(state.memory["times"], obs.time)
        memory = {"smoothed": smoothed[-self.lag - 1 :], "times": times[-self.lag - 1 :]}
        return state.replace(time=obs.time, ensemble=E, memory=state.memory | memory), Info(prior, diagnostics)

    def _weights(self, E: np.ndarray, obs: Observation, rng: np.random.Generator) -> Weights:
        d, Y = whitened_residuals(E, obs)
        C = Hessian.of(Y, len(E) - 1)
        weights = Weights(C.solve(Y @ d), C.transform())
        return weights.rotated(rotation(len(E), rng)) if self.rotate else weights
