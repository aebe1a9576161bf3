"""3D-Var."""

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count, checked_positive
from scoreda.assimilation.baselines.ensembles import conclude
from scoreda.assimilation.baselines.gaussian import draws, square_root
from scoreda.assimilation.baselines.variational import linearised, minimise
from scoreda.assimilation.protocol import Info, State, check_ensemble, forecast_to
from scoreda.datasets.climatology import Climatology
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["ThreeDVar"]


class ThreeDVar:
    r"""3D-Var: one forecast, corrected with a covariance that never changes.

    $$ x^a = \arg\min_x \tfrac12 (x - x^f)^\top B^{-1} (x - x^f) + \tfrac12 (y - h(x))^\top R^{-1} (y - h(x)) $$

    with B the climatological covariance times `scale`. Only the mean is run forward. The members are drawn anew about
    it: with B before the analysis, with the inverse Hessian after it.

    Args:
        model: The forecast model.
        climatology: Its covariance gives B.
        scale: Factor on that covariance: the variance of a forecast error over that of the climate.
        iterations: Gauss-Newton steps at most; a linear operator takes one.

    Exact when: the operator is linear and the forecast error has covariance B: the Kalman update.
    Source: Lorenc (1986), https://doi.org/10.1002/qj.49711247414
    """

    name = "3dvar"
    takes_forecast = False

    def __init__(self, model: Model, climatology: Climatology, scale: float = 0.02, iterations: int = 10) -> None:
        self.model, self.iterations = model, checked_count("iterations", iterations)
        self.scale = checked_positive("scale", scale)
        self.rows, _ = square_root(self.scale * climatology.cov)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Start from the mean of `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast the mean to `obs.time` and minimise the cost."""
        x, steps = forecast_to(self.model, state.ensemble.mean(0, keepdims=True), state.time, obs.time, rng)
        prior = draws(x[0], self.rows, len(state.ensemble), rng)
        return conclude(state, prior, obs, lambda E, obs: self._analyse(x[0], len(E), obs, rng), model_steps=steps)

    def _analyse(self, x: np.ndarray, members: int, obs: Observation, rng: np.random.Generator) -> np.ndarray:
        start = np.zeros(len(self.rows))
        found = minimise(start, lambda w: linearised(x + w @ self.rows, self.rows, obs), self.iterations)
        return draws(found.at.x, found.anomalies(), members, rng)
