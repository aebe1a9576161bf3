"""The climatology as the analysis."""

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count
from scoreda.assimilation.baselines.ensembles import conclude
from scoreda.assimilation.protocol import Info, State, check_ensemble, whole_steps
from scoreda.datasets.climatology import Climatology
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["Climatological", "climatological_ensemble"]


def climatological_ensemble(climatology: Climatology, members: int, rng: np.random.Generator) -> np.ndarray:
    """Draw states, each once if there are enough, moved so that their mean is exactly the climatological one."""
    states = climatology.states
    E = rng.choice(states, members, replace=members > len(states), shuffle=False)
    return E + (climatology.mean - E.mean(0))


class Climatological:
    """Fresh climatological states at every time, whatever was observed: the score of knowing nothing but the climate.

    Args:
        model: Gives the state size and the time step; it is never run.
        climatology: Mean, covariance and states of the system unobserved.
        members: Members of the analysis, at least 2; as many as the initial ensemble has if None.
    """

    name = "climatology"
    takes_forecast = False

    def __init__(self, model: Model, climatology: Climatology, members: int | None = None) -> None:
        self.model, self.climatology = model, climatology
        self.members = None if members is None else checked_count("members", members, least=2)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state at `time`; of the ensemble only its size matters."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Draw a new ensemble."""
        whole_steps(self.model, state.time, obs.time)
        prior = climatological_ensemble(self.climatology, self.members or len(state.ensemble), rng)
        return conclude(state, prior, obs, lambda E, obs: E, model_steps=0)
