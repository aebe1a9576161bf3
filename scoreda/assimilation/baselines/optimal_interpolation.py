"""Optimal interpolation: one static gain, applied to the climatological mean."""

import numpy as np

from scoreda.assimilation.baselines.climatological import climatological_ensemble
from scoreda.assimilation.baselines.ensembles import conclude, split
from scoreda.assimilation.baselines.stochastic_enkf import gaussian_errors
from scoreda.assimilation.protocol import Info, State, check_ensemble, whole_steps
from scoreda.datasets.climatology import Climatology
from scoreda.models import Model
from scoreda.observations import Observation, Operator

__all__ = ["OptimalInterpolation"]


class OptimalInterpolation:
    r"""Best linear estimate from the climatology and the observations of one time.

    $$ \bar x^a = \bar x + K (y - \overline{h(x)}), \quad K = B H^\top (H B H^\top + R)^{-1} $$

    with the climatological mean and covariance B. A nonlinear operator is linearised statistically: $B H^\top$ and
    $H B H^\top$ are then the covariances of x with h(x), and of h(x), over the climatological states. The members are
    climatological states updated with the same gain and perturbed observations: their covariance is the analysis's,
    up to the sampling of states and perturbations.

    Args:
        model: Gives the state size and the time step; it is never run.
        climatology: Mean, covariance and states of the system unobserved.
    """

    name = "oi"
    takes_forecast = False

    def __init__(self, model: Model, climatology: Climatology) -> None:
        self.model, self.climatology = model, climatology

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state at `time`; of the ensemble only its size matters."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Start from the climatology, whatever the last analysis was, and update it."""
        whole_steps(self.model, state.time, obs.time)
        prior = climatological_ensemble(self.climatology, len(state.ensemble), rng)
        return conclude(state, prior, obs, lambda E, obs: self._analyse(E, obs, rng), model_steps=0)

    def _analyse(self, E: np.ndarray, obs: Observation, rng: np.random.Generator) -> np.ndarray:
        expected, BHt, HBHt = self._moments(obs.operator)
        K = np.linalg.solve(HBHt + obs.error.covariance, BHt.T).T
        perturbed = obs.values + gaussian_errors(obs.error, len(E), rng)
        _, A = split(E + (perturbed - obs.operator(E)) @ K.T)
        return self.climatology.mean + K @ (obs.values - expected) + A

    def _moments(self, operator: Operator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the mean of h(x) `(Ny,)`, its covariance with x `(Nx, Ny)` and its own `(Ny, Ny)`."""
        mean, B, states = self.climatology.mean, self.climatology.cov, self.climatology.states
        if operator.linear:
            BHt = operator.tangent(mean, B)
            return operator(mean), BHt, operator.tangent(mean, BHt.T)
        (_, X), (expected, Y) = split(states), split(operator(states))
        degrees = len(states) - 1
        return expected, X.T @ Y / degrees, Y.T @ Y / degrees
