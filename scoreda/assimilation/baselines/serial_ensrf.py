"""The serial ensemble square-root filter."""

import numpy as np

from scoreda.assimilation.baselines.ensembles import checked_inflation, forecast_and_analyse, inflated, rotation, split
from scoreda.assimilation.baselines.serial import check_independent, joint, joint_neighbourhoods
from scoreda.assimilation.baselines.serial_kernels import serial_square_root
from scoreda.assimilation.localisation import Distance, Localisation, Taper, gaspari_cohn
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["SerialEnSRF"]


class SerialEnSRF:
    r"""Serial ensemble square-root filter, which is also the ensemble adjustment filter: one observation at a time.

    The observed members $h$ with mean $\bar h$ and variance s become

    $$ h^a = \bar h + \frac{s}{s + R} (y - \bar h) + \sqrt{\frac{R}{s + R}}\, (h - \bar h) $$

    and every variable, and every observation still to come, moves by its regression on $h^a - h$, tapered by the
    distance from the observation.

    Args:
        model: The forecast model.
        radius: Half-width c of the taper, grid points; without one there is no localisation.
        inflation: Factor on the forecast anomalies before the analysis.
        rotate: Whether to mix the analysis anomalies by a random rotation, as for `ETKF`.
        taper: Weight as a function of distance / radius.
        periodic: Whether the grid is a ring, or a line.
        distance: In place of the distance on them, as for `Localisation`.

    Exact when: the operator is linear and there is no localisation; mean and covariance are then the Kalman update with
    the sample covariance.
    Source: Whitaker and Hamill (2002), https://doi.org/10.1175/1520-0493(2002)130<1913:EDAWPO>2.0.CO;2; as regression:
    Anderson (2003), https://doi.org/10.1175/1520-0493(2003)131<0634:ALLSFF>2.0.CO;2
    """

    name = "serial_ensrf"

    def __init__(
        self,
        model: Model,
        radius: float | None = None,
        inflation: float = 1.0,
        rotate: bool = False,
        taper: Taper = gaspari_cohn,
        periodic: bool = True,
        distance: Distance | None = None,
    ) -> None:
        self.model, self.inflation, self.rotate = model, checked_inflation(inflation), rotate
        self.localisation = Localisation.within(model, radius, taper, periodic, distance)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, then take the observations in turn.

        Raises:
            ValueError: if errors are correlated, or the filter is local and the operator has no locations.
        """
        check_independent(obs, "SerialEnSRF")
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: self._analyse(E, obs, rng))

    def _analyse(self, E: np.ndarray, obs: Observation, rng: np.random.Generator) -> np.ndarray:
        Z = joint(inflated(E, self.inflation), obs)
        near = joint_neighbourhoods(self.localisation, obs, self.model.size, "SerialEnSRF")
        serial_square_root(Z, obs.values, obs.error.variance, *near)
        mean, A = split(Z[: self.model.size].T.copy())
        return mean + (rotation(len(A), rng) @ A if self.rotate else A)
