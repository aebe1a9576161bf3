"""Persistence: the best estimate without a model of what was observed before."""

import numpy as np

from scoreda.assimilation.baselines.optimal_interpolation import OptimalInterpolation
from scoreda.assimilation.protocol import Info, State, innovation_chi2
from scoreda.datasets.climatology import Climatology
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["Persistence"]


class Persistence:
    """The analysis at an observation time is that of the time before, by optimal interpolation.

    Forecast and analysis are the same: what is observed counts from the next time on. A forecast model that does not
    beat it is of no use over that interval.

    Args:
        model: Gives the state size and the time step; it is never run.
        climatology: Mean, covariance and states of the system unobserved.
    """

    name = "persistence"
    takes_forecast = False

    def __init__(self, model: Model, climatology: Climatology) -> None:
        self.interpolation = OptimalInterpolation(model, climatology)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`, the first estimate."""
        state = self.interpolation.init(ensemble, time)
        return state.replace(memory={"next": state.ensemble})

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Let the last estimate stand, and keep the one that `obs` gives for the next time."""
        standing = state.memory["next"]
        coming, info = self.interpolation.step(state, obs, rng)
        memory = state.memory | {"next": standing if obs.is_empty else coming.ensemble}
        diagnostics = info.diagnostics | dict(chi2=innovation_chi2(standing, obs.present()))
        return state.replace(time=obs.time, ensemble=standing, memory=memory), Info(standing, diagnostics)
