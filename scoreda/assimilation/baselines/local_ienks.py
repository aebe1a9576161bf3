"""The local iterative ensemble Kalman smoother."""

from functools import partial

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count, checked_positive
from scoreda.assimilation.baselines.ensembles import checked_inflation, rotation, split
from scoreda.assimilation.baselines.kernels import local_update
from scoreda.assimilation.baselines.lag import Flow, Lag, forecast_and_smooth
from scoreda.assimilation.baselines.serial import check_independent
from scoreda.assimilation.localisation import Distance, Localisation, Taper, gaspari_cohn, located
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["LocalIEnKS"]


class LocalIEnKS:
    """Local iterative ensemble Kalman smoother: every variable of the window's start is analysed by itself.

    It uses the observations near it, their error precisions multiplied by the taper. What the variables have become is
    run by the model as a whole, which gives the next linearisation, taken over a narrow bundle of members. A step after
    which observations fit worse than before the first is halved. Single assimilation.

    In the time from the start to the observation information travels. `drift` moves the tapers along: a variable looks
    for its observations where it will have gone.

    Args:
        model: The forecast model.
        radius: Half-width of the taper, grid points.
        lag: Observation intervals from the start of the window to the present.
        inflation: Factor on the anomalies at the start of the window before the analysis.
        drift: Speed of information, grid points per model time unit; a group velocity.
        iterations: Gauss-Newton steps at most, halved ones counted again.
        tolerance: A step shorter than this is the last, in standard deviations of the window's prior (root mean square
            over variables).
        rotate: Whether to mix the new anomalies by a random rotation, the same at every variable.
        bundle: Spread of the bundle as a fraction of the prior's.
        taper, periodic, distance: As for `Localisation`.

    Exact when: model and operator are linear: after one iteration; with lag 0 it is the LETKF.
    Source: Bocquet (2016), https://doi.org/10.1002/qj.2711
    """

    name = "local_ienks"
    analyses_forecast = False

    def __init__(
        self,
        model: Model,
        radius: float,
        lag: int = 1,
        inflation: float = 1.0,
        drift: float = 0.0,
        iterations: int = 10,
        tolerance: float = 0.03,
        rotate: bool = False,
        bundle: float = 1e-3,
        taper: Taper = gaspari_cohn,
        periodic: bool = True,
        distance: Distance | None = None,
    ) -> None:
        self.model, self.lag = model, checked_count("lag", lag, least=0)
        self.localisation, self.drift = Localisation.on(model, radius, taper, periodic, distance), float(drift)
        self.inflation, self.rotate = checked_inflation(inflation), rotate
        self.iterations = checked_count("iterations", iterations)
        self.tolerance, self.bundle = checked_positive("tolerance", tolerance), checked_positive("bundle", bundle)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`; the first windows all start here."""
        E = check_ensemble(ensemble, self.model.size)
        return State(time, E, Lag(E, np.array([time])).memory)

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, analyse the start of the window, and run it to the present.

        Raises:
            ValueError: if the operator has no locations, or errors are correlated.
        """
        smooth = partial(self._smooth, rng=rng)
        return forecast_and_smooth(self.model, self.lag, state, obs, rng, smooth)

    def _smooth(
        self, forecast: State, lag: Lag, obs: Observation, flow: Flow, rng: np.random.Generator
    ) -> tuple[State, int]:
        check_independent(obs, "LocalIEnKS")
        places = located(obs.operator, "LocalIEnKS") - self.drift * (obs.time - lag.times[0])
        near = self.localisation.near(places, self.model.size)
        mean, A = split(lag.start)
        Hx, Y = split(obs.operator(forecast.ensemble))
        A, Y, d, taken = self.inflation * A, self.inflation * Y, obs.values - Hx, np.zeros_like(mean)
        precision = 1 / obs.error.variance
        background = precision @ d**2
        increment, anomalies = local_update(A, Y, precision, d, *near)
        for iteration in range(1, self.iterations + 1):
            if iteration == self.iterations or self._is_short(increment - taken, A):
                break
            left, d, Y = self._relinearised(mean, increment, A, lag, obs, flow)
            if precision @ left**2 <= background:  # false for the NaN of a model that left its range
                taken = increment
                increment, anomalies = local_update(A, Y, precision, d, *near)
            else:
                increment = (taken + increment) / 2
        start = mean + increment + (rotation(len(A), rng) @ anomalies if self.rotate else anomalies)
        E = flow(start, lag.times[0], obs.time)
        memory = forecast.memory | lag._replace(start=start).memory
        return forecast.replace(ensemble=E, memory=memory), iteration

    def _relinearised(
        self, mean: np.ndarray, increment: np.ndarray, A: np.ndarray, lag: Lag, obs: Observation, flow: Flow
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the residual, the one that `mean` would have, and the derivative by the members, about the increment.

        The increment belongs to no one set of weights, so what it does to the observations is a member of its own.
        """
        bundle = mean + increment + self.bundle * np.vstack([A, increment])
        HE = obs.operator(flow(bundle, lag.times[0], obs.time))
        Hx, Y = split(HE[:-1])
        left = obs.values - Hx
        return left, left + (HE[-1] - Hx) / self.bundle, Y / self.bundle

    def _is_short(self, step: np.ndarray, A: np.ndarray) -> bool:
        return float(np.mean(step**2)) < self.tolerance**2 * float(A.var(0, ddof=1).mean())
