r"""A floor under the scores of filters: the Kalman filter of the system linearised along the truth.

Its covariance follows from the truth, the tangent of the model and the sensitivity of the observations alone,

$$ P^f = M P^a M^\top, \quad P^a = (1 / P^f + H^\top J H)^{-1} $$

with M and H linearised at the truth and J the Fisher information of the errors: 1 / R for Gaussian ones, more for any
other of the same variance. No estimate knows where to linearise so well. It is an indication and no bound: covariances
are averaged over truths, and an estimate that is nonlinear in the observations may gain what a linear one does not.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from scoreda.models import Model, require
from scoreda.observations import ErrorModel, Observation

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["expected_rmse", "fisher_information", "kalman_floor"]


def kalman_floor(twin: "xr.Dataset", std: float = 1.0, model: Model | None = None) -> Iterator[np.ndarray]:
    """Yield the covariance `(Nx, Nx)` of the analysis at every time of a twin.

    Args:
        twin: A twin experiment with its truth.
        std: Standard deviation of the initial errors, independent between variables.
        model: In place of the twin's own; must offer `"tangent"`.

    Raises:
        ValueError: if the model has no tangent, or the times are not whole numbers of its steps apart.
        ScoredaError: if the twin has no truth, or lacks its model or operator.

    Exact when: model and operator are linear and the errors Gaussian: the Kalman filter.
    Source: Jazwinski (1970), Stochastic processes and filtering theory, section 8.3; information in place of a
    precision: Tichavsky et al. (1998), https://doi.org/10.1109/78.668800
    """
    from scoreda.assimilation.protocol import whole_steps
    from scoreda.datasets import model_of, observations
    from scoreda.datasets.simulate import initial_time_of
    from scoreda.errors import ScoredaError

    if not {"truth", "truth_initial"} <= set(twin.variables):
        raise ScoredaError("the dataset has no `truth` or `truth_initial` to linearise about. Simulate a twin.")
    model = model or model_of(twin)
    require(model, "tangent", "the Kalman floor")
    truth = np.vstack([twin["truth_initial"].values, twin["truth"].values])
    times = [initial_time_of(twin), *twin["time"].values.tolist()]
    X = std * np.eye(model.size)
    for k, obs in enumerate(observations(twin)):
        steps = whole_steps(model, times[k], times[k + 1])
        _, X = model.tangent(truth[k], X, steps)  # type: ignore[attr-defined]
        X = _analysed(X, truth[k + 1], obs.present())
        yield X.T @ X


def _analysed(X: np.ndarray, x: np.ndarray, obs: Observation) -> np.ndarray:
    """Return rows `X^a` for rows of which `P = X^T X`, without ever forming a precision that may not exist."""
    if obs.is_empty:
        return X
    S = obs.operator.tangent(x, X) @ _information_root(obs.error)
    lam, U = np.linalg.eigh(S @ S.T)
    return (U / np.sqrt(1 + lam.clip(min=0))).T @ X


def _information_root(error: ErrorModel) -> np.ndarray:
    """Return L `(Ny, Ny)` with L L^T the Fisher information of the errors about their centre."""
    if error.independent:
        return np.diag(np.sqrt(fisher_information(error)))
    return np.linalg.inv(np.linalg.cholesky(error.covariance)).T


def fisher_information(error: ErrorModel, points: int = 2000) -> np.ndarray:
    r"""Return what an observation tells of its mean, $E[(\partial \ln p)^2]$ `(Ny,)`, per squared unit.

    1 / variance for Gaussian errors and more for all others: twice that for Laplace's, and for Student's with three
    degrees of freedom. By the midpoint rule in the angle u with z = tan u, z in standard deviations.

    Raises:
        ValueError: if the errors are not independent.
    """
    if not error.independent:
        raise ValueError(f"errors of kind '{error.name}' have no information of their own each. Use their covariance.")
    u = (np.arange(points) + 0.5) * (math.pi / points) - math.pi / 2
    residual = np.tan(u)[:, None] * error.std
    mass = np.exp(error.log_density(residual)) * error.std / np.cos(u)[:, None] ** 2 * (math.pi / points)
    return (mass * error.log_density_slope(residual) ** 2).sum(0)


def expected_rmse(P: np.ndarray) -> float:
    r"""Return the mean of the RMSE over the variables of a Gaussian error with covariance `P` `(Nx, Nx)`.

    It is below the root of the mean variance, by a fifth for one variable. From the Laplace transform of the mean
    square q, with the eigenvalues $\lambda$ of P / Nx,

    $$ E \sqrt q = \frac{1}{2 \sqrt\pi} \int_0^\infty \Big(1 - \prod_i (1 + 2 t \lambda_i)^{-1/2}\Big) t^{-3/2} dt $$

    by the trapezoidal rule in ln t.
    """
    lam = np.linalg.eigvalsh(P).clip(min=0) / len(P)
    if not (total := lam.sum()) > 0:
        return 0.0
    u, step = np.linspace(-80.0, 80.0, 641, retstep=True)
    kept = -np.expm1(-0.5 * np.log1p(2 * np.exp(u)[:, None] * (lam / total)).sum(1))
    return float(np.sqrt(total) * step * (kept * np.exp(-u / 2)).sum() / (2 * math.sqrt(math.pi)))
