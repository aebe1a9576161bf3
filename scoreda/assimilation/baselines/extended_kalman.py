"""The extended Kalman filter."""

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count
from scoreda.assimilation.baselines.ensembles import checked_inflation, split
from scoreda.assimilation.baselines.gaussian import draws
from scoreda.assimilation.baselines.variational import Minimum, linearised, minimise
from scoreda.assimilation.protocol import Info, State, check_ensemble, innovation_chi2, whole_steps
from scoreda.models import Model, require
from scoreda.observations import Observation

__all__ = ["ExtendedKalman"]


class ExtendedKalman:
    r"""Iterated extended Kalman filter with a guarded step: the mean by the model, the covariance by its tangent.

    The covariance is held as rows X with $P = X^\top X$, so it stays positive semi-definite,

    $$ X^f = \rho\, X^a M^\top, \quad X^a = (I + S S^\top)^{-1/2} X^f, \quad S = X^f H^\top R^{-1/2} $$

    and the members are draws from N(x, P) with the exact mean. The mean of the analysis is sought by Gauss-Newton from
    that of the forecast: a step that does not lower the cost is halved, up to six times, and then left out. H is the
    derivative of the operator at the analysis; at the forecast it is that of the first step alone.

    Args:
        model: Must offer `"tangent"`.
        inflation: Factor rho on the forecast anomalies, so its square on the covariance; where nothing is observed, 1.
        iterations: Gauss-Newton steps at most. For an operator that is not linear, 1 is not the textbook's extended
            Kalman filter, which takes the whole step, whatever it does to the cost, and H at the forecast.

    The first covariance is that of the initial ensemble, of which only the diagonal is trusted unless it has more
    members than the state has variables.

    Exact when: model and operator are linear: after one iteration, the Kalman filter.
    Source: Jazwinski (1970), Stochastic processes and filtering theory, section 8.3; iterated: Bell and Cathey (1993),
    https://doi.org/10.1109/9.250476
    """

    name = "extended_kalman"
    takes_forecast = False

    def __init__(self, model: Model, inflation: float = 1.0, iterations: int = 1) -> None:
        require(model, "tangent", "ExtendedKalman")
        self.model, self.inflation = model, checked_inflation(inflation)
        self.iterations = checked_count("iterations", iterations)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Start from mean and covariance of `ensemble` `(N, Nx)`."""
        E = check_ensemble(ensemble, self.model.size)
        mean, A = split(E)
        trusted = len(E) > self.model.size
        rows = A / np.sqrt(len(E) - 1) if trusted else np.diag(E.std(0, ddof=1))
        return State(time, E, {"mean": mean, "rows": rows})

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast mean and covariance to `obs.time` and update both."""
        steps = whole_steps(self.model, state.time, obs.time)
        x, X = self.model.tangent(state.memory["mean"], state.memory["rows"], steps)  # type: ignore[attr-defined]
        obs, members = obs.present(), len(state.ensemble)
        X = X if obs.is_empty else self.inflation * X
        E = prior = draws(x, X, members, rng)
        if not obs.is_empty and np.isfinite(prior).all():
            found = self._analyse(x, X, obs)
            x, X = found.at.x, found.anomalies()
            E = draws(x, X, members, rng)
        diagnostics = dict(chi2=innovation_chi2(prior, obs), model_steps=float(steps * (len(X) + 1)))
        memory = state.memory | {"mean": x, "rows": X}
        return state.replace(time=obs.time, ensemble=E, memory=memory), Info(prior, diagnostics)

    def _analyse(self, x: np.ndarray, X: np.ndarray, obs: Observation) -> Minimum:
        return minimise(np.zeros(len(X)), lambda w: linearised(x + w @ X, X, obs), self.iterations)
