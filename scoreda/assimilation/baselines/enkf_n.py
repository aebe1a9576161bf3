r"""The finite-size ensemble Kalman filter.

An ensemble of N members knows mean and covariance only so well. Integrated over what they may be, the prior of the
weights w of $x = \bar x + w A$ is not Gaussian but Student-like,

$$ J(w) = \tfrac12 |d - w Y|^2 + \tfrac c2 \ln(\varepsilon + |w|^2), \quad c = N + 1,\ \varepsilon = 1 + 1/N $$

whose minimum is that of an ETKF with the precision $\zeta = c / (\varepsilon + |w|^2)$ in the place of N - 1: inflation
found by the analysis itself. It minimises the dual cost

$$ D(\zeta) = \tfrac12 d (I + Y^\top Y / \zeta)^{-1} d^\top + \tfrac12 \varepsilon \zeta - \tfrac c2 \ln \zeta,
   \quad 0 < \zeta \le c / \varepsilon. $$
"""

import numpy as np
from scipy.optimize import brentq

from scoreda.assimilation.baselines.checks import checked_positive
from scoreda.assimilation.baselines.ensembles import forecast_and_analyse, rotation
from scoreda.assimilation.baselines.member_space import FiniteSizePrior, Hessian, Weights, whitened_residuals
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["EnKFN", "prior_precision"]


class EnKFN:
    """Finite-size ensemble Kalman filter (EnKF-N): an ETKF that needs no inflation for sampling errors.

    Where observations tell nothing, nothing is known about the covariance either: the constants are corrected so that
    the prior's own precision, N - 1, is then the answer.

    Args:
        model: The forecast model.
        certainty: How sure the ensemble is of its spread, as a multiple of N draws: 1 for a sample. Members of a cycled
            square-root filter are not drawn independently; 2 tracks better.
        rotate: Whether to mix the analysis anomalies by a random rotation that keeps their mean and covariance.

    Exact when: N -> inf and model and operator are linear: the Kalman filter.
    Source: Bocquet (2011), https://doi.org/10.5194/npg-18-735-2011; dual form: Bocquet and Sakov (2012),
    https://doi.org/10.5194/npg-19-383-2012; correction: Bocquet et al. (2015), eq. 36,
    https://doi.org/10.5194/npg-22-645-2015; certainty: Raanes et al. (2019), https://doi.org/10.1002/qj.3386
    """

    name = "enkf_n"

    def __init__(self, model: Model, certainty: float = 1.0, rotate: bool = True) -> None:
        self.model, self.certainty, self.rotate = model, checked_positive("certainty", certainty), rotate

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, find the prior's precision and update with it."""
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: self._analyse(E, obs, rng))

    def _analyse(self, E: np.ndarray, obs: Observation, rng: np.random.Generator) -> np.ndarray:
        d, Y = whitened_residuals(E, obs)
        C = Hessian.of(Y, prior_precision(Y, d, self.certainty))
        weights = Weights(C.solve(Y @ d), C.transform())
        return (weights.rotated(rotation(len(E), rng)) if self.rotate else weights)(E)


def prior_precision(Y: np.ndarray, d: np.ndarray, certainty: float = 1.0) -> float:
    """Return the zeta that minimises the dual cost, for observed anomalies `Y` `(N, Ny)` and the mean residual `d`.

    Errors are white; `certainty` multiplies epsilon and c. Of several minima the best is found on a grid and refined.
    """
    lam, U = np.linalg.eigh(Y @ Y.T)
    lam, p = np.maximum(lam, 0), (U.T @ (Y @ d)) ** 2
    epsilon, c = FiniteSizePrior.of(lam, certainty)

    def slope(zeta: float) -> float:
        """Return twice zeta times the derivative of D: c / (epsilon + |w|^2) is where it vanishes."""
        return zeta * (epsilon + (p / (lam + zeta) ** 2).sum()) - c

    grid = c / epsilon * np.geomspace(1e-9, 1 + 1e-9, 150)
    costs = epsilon * grid - c * np.log(grid) - (p / (lam + grid[:, None])).sum(1)
    best = int(np.clip(np.argmin(costs), 1, len(grid) - 2))
    low, high = grid[best - 1], grid[best + 1]
    # Beyond the grid the ensemble has lost the truth by more than 1e4 of its standard deviations.
    return float(brentq(slope, low, high, xtol=1e-14) if slope(low) < 0 < slope(high) else grid[best])
