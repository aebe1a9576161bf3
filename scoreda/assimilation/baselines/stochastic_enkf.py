"""The ensemble Kalman filter with perturbed observations."""

import numpy as np

from scoreda.assimilation.baselines.ensembles import checked_inflation, forecast_and_analyse, inflated, split
from scoreda.assimilation.baselines.stochastic_kernels import perturbed_update
from scoreda.assimilation.localisation import Distance, Localisation, Taper, gaspari_cohn, located
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import ErrorModel, Observation, Operator

__all__ = ["StochasticEnKF", "gaussian_errors", "increments", "tapers"]

FEW = 100  # observations up to which one kernel is faster than calls of LAPACK


class StochasticEnKF:
    r"""Stochastic ensemble Kalman filter.

    $$ E^a = E + (y + \varepsilon - h(E))\, K^\top, \quad K = P H^\top (H P H^\top + R)^{-1} $$

    with the covariances of the inflated forecast ensemble and its image h(E), and perturbations whose mean over the
    members is zero. Localised, both covariances are tapered, by the distance from variable to observation and from
    observation to observation ("B-localisation").

    Args:
        model: The forecast model.
        inflation: Factor on the forecast anomalies before the analysis.
        radius: Half-width c of the taper, grid points; without one there is no localisation. On a ring of Nx points
            tapered covariances are sure to be positive semi-definite up to c = Nx / 4. A wider taper has negative
            eigenvalues, which make the gain wrong where errors are small.
        taper: Weight as a function of distance / radius.
        periodic: Whether the grid is a ring, or a line.
        distance: In place of the distance on them, as for `Localisation`.

    Exact when: `h` linear, N -> inf, no localisation; error O(N^-1/2).
    Source: Burgers et al. (1998), https://doi.org/10.1175/1520-0493(1998)126<1719:ASITEK>2.0.CO;2; localised:
    Houtekamer and Mitchell (2001), https://doi.org/10.1175/1520-0493(2001)129<0123:ASEKFF>2.0.CO;2
    """

    name = "enkf"

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
        """Forecast to `obs.time`, then pull every member towards its own perturbed observation.

        Raises:
            ValueError: if the filter is local and the operator has no locations.
        """
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: self._analyse(E, obs, rng))

    def _analyse(self, E: np.ndarray, obs: Observation, rng: np.random.Generator) -> np.ndarray:
        E = inflated(E, self.inflation)
        HE, eps = np.ascontiguousarray(obs.operator(E)), gaussian_errors(obs.error, len(E), rng)
        if self.localisation is None and obs.error.independent and obs.values.size <= min(len(E), FEW):
            return perturbed_update(E, HE, obs.values, obs.error.variance, eps)
        (_, A), (Hx, Y), (_, eps) = split(E), split(HE), split(eps)
        near = tapers(self.localisation, obs.operator, "StochasticEnKF")
        return E + increments(A, Y, obs.error, obs.values - Hx + eps - Y, near)


def gaussian_errors(error: ErrorModel, members: int, rng: np.random.Generator) -> np.ndarray:
    """Draw Gaussian errors `(N, Ny)` with the covariance of `error`, whatever its distribution."""
    xi = rng.standard_normal((members, error.size))
    if not error.independent:
        return xi @ np.linalg.cholesky(error.covariance).T
    xi *= error.std
    return xi


def tapers(localisation: Localisation | None, operator: Operator, method: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the tapers from observations to variables `(Ny, Nx)` and among observations `(Ny, Ny)`, if any.

    Raises:
        ValueError: if there is one and the operator has no locations.
    """
    if localisation is None:
        return None
    places, Nx = located(operator, method), operator.state_size
    at_variables, at_obs = localisation.near(places, Nx), localisation.near(places, Nx, places)
    return at_variables.dense(len(places)).T, at_obs.dense(len(places))


def increments(
    A: np.ndarray,
    Y: np.ndarray,
    error: ErrorModel,
    D: np.ndarray,
    near: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Return `D K^T` `(N, Nx)` for innovations `D` `(N, Ny)`, solving in the smaller of observation and member space.

    Args:
        A: State anomalies `(N, Nx)`.
        Y: Observed anomalies `(N, Ny)`.
        error: Gives the error covariance.
        D: One innovation per member.
        near: Tapers of the covariances of observations with variables, and among themselves.
    """
    N, Ny = Y.shape
    if near is not None:
        return D @ np.linalg.solve(_with_errors(near[1] * (Y.T @ Y), error, N - 1), near[0] * (Y.T @ A))
    if Ny <= N:
        return D @ np.linalg.solve(_with_errors(Y.T @ Y, error, N - 1), Y.T @ A)
    S = Y / error.variance if error.independent else np.linalg.solve(error.covariance, Y.T).T
    return D @ S.T @ np.linalg.solve(S @ Y.T + (N - 1) * np.eye(N), A)


def _with_errors(C: np.ndarray, error: ErrorModel, factor: float) -> np.ndarray:
    """Add `factor` times the error covariance to `C` `(Ny, Ny)`, in place."""
    if error.independent:
        C.flat[:: len(C) + 1] += factor * error.variance  # the diagonal
    else:
        C += factor * error.covariance
    return C
