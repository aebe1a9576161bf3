"""Any ensemble method, for observations whose errors are not Gaussian: `LikelihoodAware(ETKF(model, 1.02))`."""

from typing import Any

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count
from scoreda.assimilation.baselines.sites import gaussian_sites
from scoreda.assimilation.protocol import Info, State, Traits, forecast_to, innovation_chi2
from scoreda.observations import Observation

__all__ = ["LikelihoodAware"]


class LikelihoodAware:
    """A method that is given moment-matched Gaussian pseudo-observations in the place of the observations.

    Where errors are Gaussian it is the method itself.

    Args:
        method: An ensemble method that takes errors for Gaussian and forecasts its ensemble, such as `ETKF`, `LETKF` or
            `IEnKS`.
        sweeps: Sweeps of expectation propagation. With 1 every observation is matched alone with the forecast; more
            account for what the others tell, and trust the covariances of the ensemble at all distances.

    Raises:
        ValueError: if the method does not take the forecast that observations are matched with, or a number is wrong.
    """

    def __init__(self, method: Any, sweeps: int = 1) -> None:
        if not Traits.of(method).takes_forecast:
            raise ValueError(
                f"observations are matched with a forecast of the ensemble, but {method.name} makes another of its own."
                " Use ETKF, LETKF or IEnKS."
            )
        self.method, self.model, self.sweeps = method, method.model, checked_count("sweeps", sweeps)
        self.name = f"{method.name}_sites"

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the method's state."""
        return self.method.init(ensemble, time)

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, turn the observation into sites, and let the method analyse them."""
        E, steps = forecast_to(self.model, state.ensemble, state.time, obs.time, rng)
        obs = obs.present()
        useful = not obs.is_empty and np.isfinite(E).all()
        sites = gaussian_sites(obs, E, self.sweeps) if useful else obs
        after, info = self.method.step(state.replace(time=obs.time, ensemble=E), sites, rng)
        spent = info.diagnostics["model_steps"] + steps * len(E)
        return after, Info(info.prior, info.diagnostics | dict(chi2=innovation_chi2(E, obs), model_steps=spent))
