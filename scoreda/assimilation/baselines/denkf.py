"""The deterministic ensemble Kalman filter."""

import numpy as np

from scoreda.assimilation.baselines.ensembles import checked_inflation, forecast_and_analyse, inflated, split
from scoreda.assimilation.baselines.stochastic_enkf import increments, tapers
from scoreda.assimilation.localisation import Distance, Localisation, Taper, gaspari_cohn
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["DEnKF"]


class DEnKF:
    r"""Deterministic ensemble Kalman filter: the Kalman gain for the mean, half of it for the anomalies.

    $$ \bar x^a = \bar x + K (y - \overline{h(x)}), \quad A^a = A - \tfrac12 Y K^\top $$

    Without perturbed observations; the covariance comes out too large by $\tfrac14 K H P H^\top K^\top$, a part
    that vanishes for weak observations and acts as inflation for strong ones.

    Args:
        model: The forecast model.
        inflation: Factor on the forecast anomalies before the analysis.
        radius: Half-width c of the taper on the covariances, grid points; without one there is no localisation. On a
            ring of Nx points they are sure to stay positive semi-definite up to c = Nx / 4. A wider taper has negative
            eigenvalues, which make the gain wrong where errors are small.
        taper: Weight as a function of distance / radius.
        periodic: Whether the grid is a ring, or a line.
        distance: In place of the distance on them, as for `Localisation`.

    Exact when: the operator is linear and there is no localisation; the mean is then the Kalman update with the sample
    covariance.
    Source: Sakov and Oke (2008), https://doi.org/10.1111/j.1600-0870.2007.00299.x
    """

    name = "denkf"

    def __init__(
        self,
        model: Model,
        inflation: float = 1.0,
        radius: float | None = None,
        taper: Taper = gaspari_cohn,
        periodic: bool = True,
        distance: Distance | None = None,
    ) -> None:
        self.model, self.inflation = model, checked_inflation(inflation)
        self.localisation = Localisation.within(model, radius, taper, periodic, distance)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, then move mean and anomalies; `rng` serves a random model only.

        Raises:
            ValueError: if the filter is local and the operator has no locations.
        """
        return forecast_and_analyse(self.model, state, obs, rng, self._analyse)

    def _analyse(self, E: np.ndarray, obs: Observation) -> np.ndarray:
        E = inflated(E, self.inflation)
        (_, A), (Hx, Y) = split(E), split(obs.operator(E))
        near = tapers(self.localisation, obs.operator, "DEnKF")
        return E + increments(A, Y, obs.error, obs.values - Hx - Y / 2, near)
