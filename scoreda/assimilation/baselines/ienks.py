"""The iterative ensemble Kalman smoother."""

from collections.abc import Callable
from functools import partial

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count, checked_positive
from scoreda.assimilation.baselines.ensembles import checked_inflation, inflated, rotation
from scoreda.assimilation.baselines.lag import Flow, Lag, forecast_and_smooth
from scoreda.assimilation.baselines.member_space import (
    FiniteSizePrior,
    GaussianPrior,
    Hessian,
    Weights,
    whitened_residuals,
)
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["IEnKS"]

Seen = tuple[np.ndarray, np.ndarray]  # mean residual `(Ny,)` and observed anomalies `(N, Ny)`, errors made white
Visit = tuple[Observation, float]  # an observation and its share of the likelihood


class IEnKS:
    r"""Iterative ensemble Kalman smoother: a 4D-Var in the span of the ensemble at the start of a lagged window.

    $$ J(w) = \tfrac{N-1}{2} |w|^2 + \tfrac12 \sum_k \beta_k\, |y_k - h_k(M_k(\bar x_0 + w A_0))|^2_{R^{-1}} $$

    by Gauss-Newton, the derivatives from the members themselves: no tangent, no adjoint. A step that does not lower the
    cost is halved: far from the truth the linearisation errs so much that whole steps end in infinity. The window moves
    on by one observation time per step; its ensemble is then run to the present.

    With single assimilation an observation counts once, when it is the latest. With multiple assimilation it counts
    1 / lag in each of the windows that hold it, which tames the nonlinearity of long ones; the analysis is then a
    second minimum, in which all observations of the window have their full weight, and which is not kept.

    Args:
        model: The forecast model.
        lag: Observation intervals from the start of the window to the present. 1 is the iterative ensemble Kalman
            filter, 0 the ETKF (iterated where the operator is not linear).
        inflation: Factor on the anomalies at the start of the window before the analysis.
        iterations: Gauss-Newton steps at most, halved ones counted again.
        tolerance: A step shorter than this is the last, in standard deviations of the window's prior.
        rotate: Whether to mix the new anomalies by a random rotation that keeps their mean and covariance.
        bundle: Spread of the members that derivatives are taken over, as a fraction of the prior's; None takes the
            spread of the posterior (the transform version).
        multiple: Whether observations are assimilated once or several times.
        certainty: How sure the ensemble is of its spread, as for `EnKFN`. The first term of J is then that filter's,
            whose precision is found with the minimum (iEnKS-N): inflation for sampling errors is not needed. None takes
            the ensemble at its word.

    Raises:
        ValueError: if a setting is out of range, or `certainty` is to go with `multiple`, which would count the prior
            of a window several times.

    Exact when: model and operator are linear: mean and covariance are the Kalman smoother's with the sample covariance,
    after one step.
    Source: Bocquet and Sakov (2014), https://doi.org/10.1002/qj.2236; filter: Sakov et al. (2012),
    https://doi.org/10.1175/MWR-D-11-00176.1; finite size: Bocquet and Sakov (2012),
    https://doi.org/10.5194/npg-19-383-2012
    """

    name = "ienks"
    analyses_forecast = False

    def __init__(
        self,
        model: Model,
        lag: int = 1,
        inflation: float = 1.0,
        iterations: int = 10,
        tolerance: float = 0.03,
        rotate: bool = True,
        bundle: float | None = None,
        multiple: bool = False,
        certainty: float | None = None,
    ) -> None:
        self.model, self.lag = model, checked_count("lag", lag, least=0)
        self.inflation, self.rotate = checked_inflation(inflation), rotate
        self.iterations = checked_count("iterations", iterations)
        self.tolerance = checked_positive("tolerance", tolerance)
        self.bundle = None if bundle is None else checked_positive("bundle", bundle)
        self.multiple = multiple and lag > 1
        self.certainty = None if certainty is None else checked_positive("certainty", certainty)
        if self.multiple and self.certainty is not None:
            raise ValueError(
                f"`certainty` goes with single assimilation only, got {certainty} and multiple=True. "
                "Leave one of them out."
            )

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`; the first windows all start here."""
        E = check_ensemble(ensemble, self.model.size)
        return State(time, E, Lag(E, np.array([time])).memory)

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, analyse the start of the window that ends there, and run it to the present."""
        analyse = self._analyse_often if self.multiple else self._analyse_once
        return forecast_and_smooth(self.model, self.lag, state, obs, rng, partial(analyse, rng=rng))

    def _analyse_once(
        self, forecast: State, lag: Lag, obs: Observation, flow: Flow, rng: np.random.Generator
    ) -> tuple[State, int]:
        """Return the state given `obs`, the one observation that the window does not know yet."""
        d, Y = whitened_residuals(forecast.ensemble, obs)
        observe = observer(lag, [(obs, 1.0)], flow)
        start, iterations = self._minimum(inflated(lag.start, self.inflation), observe, (d, self.inflation * Y), rng)
        E = flow(start, lag.times[0], obs.time)
        memory = forecast.memory | lag._replace(start=start).memory
        return forecast.replace(ensemble=E, memory=memory), iterations

    def _analyse_often(
        self, forecast: State, lag: Lag, obs: Observation, flow: Flow, rng: np.random.Generator
    ) -> tuple[State, int]:
        """Return the state given one more share of every observation of the window, and the rest for the analysis."""
        past = (*forecast.past, obs)[-self.lag :]
        given = [(len(past) - k) / self.lag for k in range(len(past))]
        E = inflated(lag.start, self.inflation)
        observe = observer(lag, [(obs, 1 / self.lag) for obs in past], flow)
        start, one = self._minimum(E, observe, observe(E), rng)
        observe = observer(lag, [(obs, 1 - share) for obs, share in zip(past, given, strict=True)], flow)
        balanced, two = self._minimum(start, observe, observe(start), rng)
        E = flow(balanced, lag.times[0], obs.time)
        memory = forecast.memory | lag._replace(start=start).memory
        return forecast.replace(ensemble=E, memory=memory, past=past), one + two

    def _minimum(
        self, E: np.ndarray, observe: Callable[[np.ndarray], Seen], seen: Seen, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Return the ensemble at the minimum of J and the steps taken.

        Args:
            E: The window's prior.
            observe: What is seen of other members at the window's start.
            seen: What is seen of `E`.
            rng: For the rotation.
        """
        w, (d, Y) = np.zeros(len(E)), seen
        prior = self._prior(Y)
        zeta, cost = prior.precision(w), prior.cost(w) + d @ d
        C = Hessian.of(Y, zeta)
        step = C.solve(Y @ d)
        for iteration in range(1, self.iterations + 1):
            if iteration == self.iterations or zeta * (step @ step) < self.tolerance**2:
                break
            d, Y = self._relinearised(E, w + step, C, observe)
            trial = prior.cost(w + step) + d @ d
            if trial <= cost:  # false for the NaN of a model that left its range
                w, zeta, cost = w + step, prior.precision(w + step), trial
                C = Hessian.of(Y, zeta)
                step = C.solve(Y @ d - zeta * w)
            else:
                step = step / 2
        weights = Weights(w + step, C.transform())
        return (weights.rotated(rotation(len(E), rng)) if self.rotate else weights)(E), iteration

    def _prior(self, Y: np.ndarray) -> GaussianPrior | FiniteSizePrior:
        """Return the prior of the weights; `Y` `(N, Ny)` is what is seen of the window's own members."""
        if self.certainty is None:
            return GaussianPrior(len(Y) - 1)
        return FiniteSizePrior.of(np.linalg.eigvalsh(Y @ Y.T).clip(0), self.certainty)

    def _relinearised(self, E: np.ndarray, w: np.ndarray, C: Hessian, observe: Callable[[np.ndarray], Seen]) -> Seen:
        """Return the mean residual at w, and the derivative by the members from members about w."""
        if self.bundle is not None:
            d, Y = observe(Weights(w, self.bundle * np.eye(len(E)))(E))
            return d, Y / self.bundle
        d, Y = observe(Weights(w, C.transform())(E))
        return d, C.inverse_transform() @ Y


def observer(lag: Lag, visits: list[Visit], flow: Flow) -> Callable[[np.ndarray], Seen]:
    """Return what is seen of members at the start of the window when they are run through the visits."""

    def observe(E: np.ndarray) -> Seen:
        time, seen = lag.times[0], []
        for obs, share in visits:
            E, time = flow(E, time, obs.time), obs.time
            d, Y = whitened_residuals(E, obs)
            seen.append((np.sqrt(share) * d, np.sqrt(share) * Y))
        return np.concatenate([d for d, _ in seen]), np.concatenate([Y for _, Y in seen], axis=1)

    return observe
