r"""The coupled score filter: an analysis that transports every forecast member along probability-flow ODEs.

The prior of a cycle is the localised Gaussian of the forecast ensemble times the non-Gaussian part of the learned
climatological prior, in scores

$$ \nabla \log p_s(z) = -(P + s^2)^{-1}(z - m) + \lambda\, [\hat x_\theta(z, s) - \hat x_{clim}(z, s)] / s^2, $$

with $\hat x_\theta$ the learned denoiser and $\hat x_{clim}$ that of a Gaussian with the climatology's mean and
covariance. A member is carried up the prior's flow to noise and down the flow of the posterior, so that no noise is
drawn and nothing moves where nothing was observed. The Gaussian part is integrated in closed form: $z = m + (P +
s^2)^{1/2} u$ makes `u` constant, and what remains is one quadrature over the learned residual.
"""

import math
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count
from scoreda.assimilation.baselines.ensembles import checked_inflation
from scoreda.assimilation.baselines.stochastic_enkf import tapers
from scoreda.assimilation.localisation import Localisation, gaspari_cohn, own_distance
from scoreda.assimilation.protocol import Info, State, check_ensemble, forecast_to, innovation_chi2
from scoreda.assimilation.score.symmetric import Symmetric
from scoreda.datasets import Climatology
from scoreda.diffusion import Prior
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["CoupledScoreFilter"]

VARIANCE = "variance_of_whole"  # in the memory of a block's state


class Gaussian(NamedTuple):
    """A Gaussian by its mean `(Nx,)` and decomposed covariance."""

    mean: np.ndarray
    cov: Symmetric

    @classmethod
    def of(cls, mean: np.ndarray, P: np.ndarray, variance: float) -> "Gaussian":
        """Decompose a covariance; eigenvalues are kept above a millionth of the mean `variance` of a variable."""
        return cls(mean, Symmetric.of(P, floor=1e-6 * variance))

    def to_white(self, x: np.ndarray, s: float = 0.0) -> np.ndarray:
        """Return the white coordinates u of states with added noise s: x = m + (P + s^2)^(1/2) u."""
        return self.cov.apply((self.cov.w + s**2) ** -0.5, x - self.mean)

    def from_white(self, u: np.ndarray, s: float = 0.0) -> np.ndarray:
        """Invert `to_white`."""
        return self.mean + self.cov.apply((self.cov.w + s**2) ** 0.5, u)

    def denoise(self, z: np.ndarray, s: float) -> np.ndarray:
        """Return E[x | x + s eps = z]."""
        return self.mean + self.cov.apply(self.cov.w / (self.cov.w + s**2), z - self.mean)


class LearnedResidual:
    """The learned denoiser minus the denoiser of the climatological Gaussian: zero if the climate is Gaussian.

    Args:
        prior: The learned one.
        climatology: Of the same variables.
        variance: Mean variance of a variable in the climate of the whole grid.
    """

    def __init__(self, prior: Prior, climatology: Climatology, variance: float) -> None:
        self.prior, self.climatology, self.variance = prior, climatology, variance

    @cached_property
    def gaussian(self) -> Gaussian:
        """The climatological Gaussian, decomposed when it is first needed: that of a cut grid never is."""
        return Gaussian.of(self.climatology.mean, self.climatology.cov, self.variance)

    def on(self, points: np.ndarray) -> "LearnedResidual":
        """Return the residual of a stretch of the grid."""
        return LearnedResidual(self.prior, self.climatology.on(points), self.variance)

    def __call__(self, z: np.ndarray, s: float) -> np.ndarray:
        """Return the residual at noisy states `z` `(N, Nx)` with noise of standard deviation `s`."""
        return self.prior.denoise(z, s) - self.gaussian.denoise(z, s)


class CoupledScoreFilter:
    r"""A score filter whose update is a deterministic transport of the forecast members.

    Args:
        model: Any model.
        radius: Gaspari-Cohn half-width of the covariance localisation, grid points; None for no localisation. On a ring
            of Nx points tapered covariances are sure to be positive semi-definite up to Nx / 4. A wider taper has
            negative eigenvalues, which make the gain wrong where errors are small.
        inflation: Factor on the forecast anomalies.
        prior, climatology: The learned prior and the climatology whose Gaussian it contains; None leaves them out.
        learned: Weight of the learned part at climatological spread. The weight of a cycle is `learned * min(1, spread
            of the forecast / climatological spread) ** 2`: a forecast that is sharp compared with the climate has
            already been on the attractor, and its shape is not counted twice.
        steps: Midpoint steps of each leg, two network evaluations a member each.
        periodic: Whether the grid is a ring.
        climate_radius: Gaspari-Cohn half-width of the climatology's covariance, grid points. Without one, what was
            sampled couples all places by its noise, so an analysis in blocks is not that of the whole grid.

    Exact when: model and operator are linear, all Gaussian, `learned = 0`, no localisation: the square-root Kalman
    filter.
    Cost: two dense eigendecompositions of `Nx x Nx` a cycle; network evaluations only while the weight exceeds 0.01.
    """

    name = "coupled_score_filter"

    def __init__(
        self,
        model: Model,
        radius: float | None,
        inflation: float = 1.0,
        prior: Prior | None = None,
        climatology: Climatology | None = None,
        learned: float = 1.0,
        steps: int = 8,
        periodic: bool = True,
        climate_radius: float | None = None,
    ) -> None:
        for name, value in (("radius", radius), ("climate_radius", climate_radius)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be positive, got {value}. Pass None for no localisation.")
        if not (math.isfinite(learned) and learned >= 0):
            raise ValueError(f"`learned` must not be negative, got {learned}. Pass 0 to leave the learned part out.")
        if (prior is None) != (climatology is None):
            raise ValueError("`prior` and `climatology` go together: the learned part is what the prior adds to it.")
        self.model, self.radius, self.inflation, self.periodic = model, radius, checked_inflation(inflation), periodic
        self.climate_radius, self.learned, self.steps = climate_radius, learned, checked_count("steps", steps)
        self.residual = None if prior is None or climatology is None else self._residual(prior, climatology)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Start from an ensemble `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time` and transport the members to the analysis; `rng` serves a random model only."""
        E, steps = forecast_to(self.model, state.ensemble, state.time, obs.time, rng)
        diagnostics = {"model_steps": float(steps * len(E)), "network_evals": 0.0}
        memory = {name: array for name, array in state.memory.items() if name != VARIANCE}  # that of this forecast only
        after = state.replace(time=obs.time, ensemble=E, memory=memory)
        if obs.is_empty:
            return after, Info(E, diagnostics)
        obs = obs.present()
        diagnostics["chi2"] = innovation_chi2(E, obs)
        variance = self._variance(E, state.memory)
        forecast, analysis = self._gaussians(E, obs, variance)
        weight = self._weight(variance)
        u = self.inflation * forecast.to_white(E)
        if weight > 0.01:
            u = self._add_learned(u, forecast, analysis, variance, weight)
            diagnostics["network_evals"] = float(4 * self.steps * len(E))
        return after.replace(ensemble=analysis.from_white(u)), Info(E, diagnostics)

    @property
    def support(self) -> int:
        """Grid points around a variable beyond which observations count no more than rounding in single precision.

        They are eight radii, four times the reach of the taper, since the analysis covariance couples every observation
        to its neighbours, and those to theirs. A learned part adds what its network sees.
        """
        reach = self.residual.prior.denoiser.network.locality().reach if self.residual else 0  # type: ignore[operator]
        return reach + 8 * math.ceil(self.radius) if self.radius is not None else self.model.size

    def on(self, model: Model, points: np.ndarray) -> "CoupledScoreFilter":
        """Return the filter of a stretch of the grid, a line whose `model` has a variable for each of its `points`.

        Raises:
            ValueError: if the model has a `distance` of its own.
        """
        if own_distance(self.model):
            raise ValueError(f"{self.model.name} is no even grid, and cannot be cut. Use one machine.")
        part = copy(self)
        part.model, part.periodic = model, False
        part.residual = self.residual and self.residual.on(points)
        return part

    def of_whole(self, E: Any) -> dict[str, Any]:
        """Return what a stretch has to know of the whole forecast `E` `(N, Nx)`, NumPy or Dask: its mean variance."""
        return {VARIANCE: E.var(axis=0, ddof=1).mean()}

    def _variance(self, E: np.ndarray, memory: dict[str, np.ndarray]) -> float:
        """Return the mean variance of a variable of the inflated forecast; of the whole grid, where that is known."""
        return self.inflation**2 * float((self.of_whole(E) | memory)[VARIANCE])

    def _residual(self, prior: Prior, climatology: Climatology) -> LearnedResidual:
        """Return the learned residual, with the climatology's covariance localised."""
        if self.climate_radius is not None:
            climatology = replace(climatology, cov=climatology.cov * self._grid_taper(self.climate_radius))
        return LearnedResidual(prior, climatology, float(np.trace(climatology.cov)) / len(climatology.mean))

    def _gaussians(self, E: np.ndarray, obs: Observation, variance: float) -> tuple[Gaussian, Gaussian]:
        """Return the localised Gaussians of the forecast and of the analysis.

        Observed covariances come from the observed ensemble, so a nonlinear operator is linearised statistically. The
        tapers are blocks of one matrix. On a line, and on a ring up to a radius of Nx / 4, it is positive
        semi-definite, hence so is the analysis covariance; what is negative beyond that is raised to a floor.
        """
        x, HE = E.mean(0), obs.operator(E)
        A, Y = self.inflation * (E - x), self.inflation * (HE - HE.mean(0))
        rho_xx, rho_xy, rho_yy = self._tapers(obs)
        dof = len(E) - 1
        P, P_xy, P_yy = rho_xx * (A.T @ A) / dof, rho_xy * (A.T @ Y) / dof, rho_yy * (Y.T @ Y) / dof
        K = np.linalg.solve(P_yy + obs.error.covariance, P_xy.T).T
        mean = x + K @ (obs.values - HE.mean(0))
        P_a = P - K @ P_xy.T
        return Gaussian.of(x, P, variance), Gaussian.of(mean, P_a, float(np.trace(P_a)) / len(mean))

    def _tapers(self, obs: Observation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the tapers between state and state, state and observations, observations and observations."""
        localisation = Localisation.within(self.model, self.radius, gaspari_cohn, self.periodic, self._distance)
        near = tapers(localisation, obs.operator, "CoupledScoreFilter")
        if self.radius is None or near is None:
            one = np.ones(())
            return one, one, one
        return self._grid_taper(self.radius), near[0].T, near[1]

    def _grid_taper(self, radius: float) -> np.ndarray:
        """Return the taper between state and state `(Nx, Nx)`."""
        grid = np.arange(self.model.size, dtype=np.float64)
        return gaspari_cohn(self._distance(grid, grid) / radius)

    def _distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the distances `(n, m)` of all pairs of grid positions: every taper here is a full matrix."""
        if own := own_distance(self.model):
            return own(a, b)
        distance = np.abs(a[:, None] - b)
        if not self.periodic:
            return distance
        distance %= self.model.size
        return np.minimum(distance, self.model.size - distance)

    def _weight(self, variance: float) -> float:
        """Return the weight of the learned part this cycle."""
        if self.residual is None:
            return 0.0
        return self.learned * min(1.0, variance / self.residual.variance)

    def _add_learned(
        self, u: np.ndarray, forecast: Gaussian, analysis: Gaussian, variance: float, weight: float
    ) -> np.ndarray:
        """Carry `u` up the prior's flow and down the posterior's: the part that the learned residual moves.

        On the way down the residual passes through $I - K_s H = P_a (P_a + s^2)^{-1} (P + s^2) P^{-1}$, the share of a
        change in the prior mean that survives the observations.
        """
        residual, P, P_a = self.residual, forecast.cov, analysis.cov
        low, high = 0.1 * variance**0.5, 4 * residual.variance**0.5  # type: ignore[union-attr]

        def up(u: np.ndarray, s: float) -> np.ndarray:
            """Return du / d ln s along the prior's flow."""
            r = residual(forecast.from_white(u, s), s)  # type: ignore[misc]
            return -weight * P.apply((P.w + s**2) ** -0.5, r)

        def down(u: np.ndarray, s: float) -> np.ndarray:
            """Return du / d ln s along the posterior's flow."""
            r = residual(analysis.from_white(u, s), s)  # type: ignore[misc]
            kept = P_a.apply(P_a.w / (P_a.w + s**2), P.apply((P.w + s**2) / P.w, r))
            return -weight * P_a.apply((P_a.w + s**2) ** -0.5, kept)

        log_s = np.linspace(np.log(low), np.log(high), self.steps + 1)
        for flow, path in ((up, log_s), (down, log_s[::-1])):
            for start, end in zip(path[:-1], path[1:], strict=True):
                middle = u + (end - start) / 2 * flow(u, float(np.exp(start)))
                u = u + (end - start) * flow(middle, float(np.exp((start + end) / 2)))
        return u
