"""The particle filter with the optimal proposal."""

import numpy as np

from scoreda.assimilation.baselines.resampling import Resampling
from scoreda.assimilation.baselines.weighted import Weighted, conclude_weighted, reweighted
from scoreda.assimilation.protocol import Info, State, check_ensemble, forecast_to
from scoreda.models import AdditiveError, Model, WithModelError
from scoreda.observations import CorrelatedGaussianError, GaussianError, Observation

__all__ = ["OptimalPF"]


class OptimalPF:
    r"""Particle filter whose last model step looks at the observations.

    With m a member after the last step without its error, whose variance is Q dt, and a linear operator H,

    $$ x \sim p(x \mid m, y) = N(m + K (y - H m),\ (I - K H)\, Q\, dt), \quad
       w \propto p(y \mid m) = N(H m,\ H Q H^\top dt + R), \quad K = Q H^\top dt\, (H Q H^\top dt + R)^{-1} $$

    Of all proposals that know m and y this one has the weights of least variance. Steps before the last one draw their
    errors blindly, so the gain is largest when every step is observed.

    Args:
        model: A `WithModelError` with an `AdditiveError`.
        bandwidth: As for `BootstrapPF`; the model errors part equal particles already.
        shrinkage, threshold, duplicates_only: As for `BootstrapPF`.

    Exact when: N -> inf and bandwidth 0; error O(N^-1/2).
    Source: Doucet et al. (2000), https://doi.org/10.1023/A:1008935410038
    """

    name = "optimal_pf"
    keeps_members = False
    takes_forecast = False

    def __init__(
        self,
        model: Model,
        bandwidth: float = 0.0,
        shrinkage: bool = False,
        threshold: float = 1.0,
        duplicates_only: bool = False,
    ) -> None:
        if not (isinstance(model, WithModelError) and isinstance(model.error, AdditiveError)):
            raise ValueError(
                f"OptimalPF needs a model with additive errors, got {model.name}. Pass "
                "WithModelError(model, AdditiveError(variance)), or use BootstrapPF."
            )
        self.model, self.error = model, model.error
        self.resampling = Resampling(bandwidth, shrinkage, threshold, duplicates_only)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, the last step without its error; then weight, resample if due, and draw that error.

        Raises:
            ValueError: if the operator is not linear or the observation errors are not Gaussian.
        """
        _check(obs)
        last = max(state.time, obs.time - self.model.dt)
        before = Weighted.of(state)
        E, steps = forecast_to(self.model, before.particles, state.time, last, rng)
        m, more = forecast_to(self.model.model, E, last, obs.time, rng)
        forecast = before._replace(particles=self.error.perturbed(m, self.model.dt, rng) if more else m)
        return conclude_weighted(
            state,
            forecast,
            obs,
            lambda forecast, obs: self._analyse(forecast._replace(particles=m), more, obs, rng),
            model_steps=len(E) * (steps + more),
        )

    def _analyse(
        self, before: Weighted, steps: int, obs: Observation, rng: np.random.Generator
    ) -> tuple[Weighted, dict[str, float]]:
        m, Q = before.particles, steps * self.model.dt * self._covariance()
        QHt = obs.operator.tangent(m[0], Q)
        chol = np.linalg.cholesky(obs.operator.tangent(m[0], QHt.T) + obs.error.covariance)
        u = np.linalg.solve(chol, (obs.values - obs.operator(m)).T)
        both = before._replace(particles=np.hstack([m, u.T]))
        after, diagnostics = reweighted(both, -0.5 * (u * u).sum(0), self.resampling, rng)
        m, u = np.split(after.particles, [m.shape[1]], axis=1)
        gain = np.linalg.solve(chol, QHt.T)
        spread = rng.multivariate_normal(np.zeros(len(Q)), Q - gain.T @ gain, len(m), "ignore", method="eigh")
        return after._replace(particles=m + u @ gain + spread), diagnostics

    def _covariance(self) -> np.ndarray:
        """Return Q `(Nx, Nx)`."""
        Q = self.error.variance
        return Q if Q.ndim == 2 else Q * np.eye(self.model.size)


def _check(obs: Observation) -> None:
    if not obs.operator.linear or not isinstance(obs.error, GaussianError | CorrelatedGaussianError):
        raise ValueError(
            f"OptimalPF needs a linear operator and Gaussian errors, got '{obs.operator.name}' and "
            f"'{obs.error.name}'. Use BootstrapPF."
        )
