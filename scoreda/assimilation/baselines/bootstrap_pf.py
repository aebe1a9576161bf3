"""The bootstrap particle filter."""

import numpy as np

from scoreda.assimilation.baselines.ensembles import forecast_and_analyse
from scoreda.assimilation.baselines.resampling import (
    checked_bandwidth,
    effective_size,
    log_likelihood,
    normalised,
    resampled,
)
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["BootstrapPF"]


class BootstrapPF:
    """Bootstrap particle filter: members are forecast, weighted by their likelihood, resampled and regularised.

    It takes any operator and any error distribution. The analysis is resampled at every observation time, so its
    members count alike; the diagnostic `ess` is the effective sample size before. A healthy one does not prove that
    the particles are where the posterior is: raise the members, or move the bandwidth, and see whether scores stay.

    Args:
        model: The forecast model.
        bandwidth: Of the kernel that parts equal particles, as a fraction of the analysis spread. Without model errors
            0 lets the particles collapse into one; good values fall with the members, on three variables from 0.5 for
            100 to 0.1 for 4000.
        shrinkage: Draw the particles in towards their mean by what the kernel adds, so that their covariance is kept:
            closer to the posterior with many members, lost more easily with few.

    Exact when: N -> inf and bandwidth 0; error O(N^-1/2), growing exponentially with the number of observations.
    Source: Gordon et al. (1993), https://doi.org/10.1049/ip-f-2.1993.0015
    """

    name = "bootstrap_pf"

    def __init__(self, model: Model, bandwidth: float = 0.2, shrinkage: bool = False) -> None:
        self.model, self.bandwidth, self.shrinkage = model, checked_bandwidth(bandwidth, shrinkage), shrinkage

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, then weight and resample the members."""
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: self._analyse(E, obs, rng))

    def _analyse(
        self, E: np.ndarray, obs: Observation, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, float]]:
        w = normalised(log_likelihood(E, obs))
        return resampled(E, w, self.bandwidth, rng, self.shrinkage), dict(ess=effective_size(w))
