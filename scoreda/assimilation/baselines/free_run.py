"""The forecast alone."""

import numpy as np

from scoreda.assimilation.baselines.ensembles import forecast_and_analyse
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["FreeRun"]


class FreeRun:
    """Forecast without assimilation: what the observations have to improve on."""

    name = "free_run"

    def __init__(self, model: Model) -> None:
        self.model = model

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`; the values are used for the diagnostics only."""
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: E)
