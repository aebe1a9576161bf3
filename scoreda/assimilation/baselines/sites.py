r"""Sites: Gaussian pseudo-observations that stand in for observations whose errors are not Gaussian.

For observation j let the rest of the knowledge, its cavity, be $N(m, v)$ in observation space. The product of cavity
and likelihood has mean $\mu$ and variance $\nu$, by scalar quadrature; the site is the Gaussian likelihood with the
same effect,

$$ \tau = 1 / \nu - 1 / v, \quad \tilde y = \mu + (\mu - m) / (v \tau) $$

A first sweep takes the forecast for the cavity. Further sweeps take the present analysis without the site itself:
expectation propagation, in the space of the observations.

Source: Minka (2001), Expectation propagation for approximate Bayesian inference, https://arxiv.org/abs/1301.2294
"""

from typing import NamedTuple

import numpy as np

from scoreda.assimilation.baselines.ensembles import split
from scoreda.observations import ErrorModel, GaussianError, Observation

__all__ = ["gaussian_sites", "tilted_moments"]

# Break points of the quadrature, in standard deviations of the cavity and of the error: dense where the density of
# either may bend, and as far out as the observation may lie.
CAVITY = np.array([0.0, 1.0, 2.0, 3.5, 5.0, 8.0, 16.0])
ERROR = np.array([0.0, 0.2, 0.6, 1.5, 4.0, 12.0])
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(6)
LEAST = 1e-4  # least precision of a site, as a share of the error's: an outlier may carry none


class Sites(NamedTuple):
    """Precisions `tau` `(Ny,)` and pseudo-observations `y` `(Ny,)`."""

    tau: np.ndarray
    y: np.ndarray


def gaussian_sites(obs: Observation, E: np.ndarray, sweeps: int = 1) -> Observation:
    """Return `obs` with pseudo-observations and Gaussian errors; as it is if its errors are Gaussian.

    Args:
        obs: Without missing values.
        E: Forecast ensemble `(N, Nx)` at the observation's time.
        sweeps: 1 matches every observation alone with the forecast; more account for what the others tell. They trust
            the covariances of the ensemble, all distances alike.
    """
    if isinstance(obs.error, GaussianError) or not obs.error.independent:
        return obs
    m, Y = split(obs.operator(E))
    cavity_mean, cavity_variance = m, np.maximum(Y.var(0, ddof=1), 1e-12 * obs.error.variance)
    for sweep in range(sweeps):
        sites = _matched(obs.values, obs.error, cavity_mean, cavity_variance)
        if sweep + 1 < sweeps:
            cavity_mean, cavity_variance = _cavities(m, Y, sites)
    return Observation(obs.time, sites.y, obs.operator, GaussianError(1 / sites.tau, obs.operator.size), obs.kept)


def _matched(y: np.ndarray, error: ErrorModel, m: np.ndarray, v: np.ndarray) -> Sites:
    """Return the sites that turn cavities N(m, v) into Gaussians with the tilted mean and variance."""
    mu, nu = tilted_moments(y, error, m, v)
    tau = np.maximum(1 / nu - 1 / v, LEAST / error.variance)
    return Sites(tau, mu + (mu - m) / (v * tau))


def _cavities(m: np.ndarray, Y: np.ndarray, sites: Sites) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of every observed value, given the forecast and all sites but its own."""
    N = len(Y)
    S = Y * sites.tau
    gain = np.linalg.solve(S @ Y.T + (N - 1) * np.eye(N), Y)
    mean, variance = m + (S @ (sites.y - m)) @ gain, np.einsum("nj,nj->j", Y, gain)
    # Rounding aside, 1 - tau * variance is positive: a site never holds more than the whole precision.
    without = np.maximum(1 - sites.tau * variance, 1e-6)
    cavity = variance / without
    return mean - sites.tau * cavity * (sites.y - mean), np.maximum(cavity, 1e-12 / sites.tau)


def tilted_moments(y: np.ndarray, error: ErrorModel, m: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance `(Ny,)` of z under the density ~ N(z; m, v) p(y - z), observation by observation.

    Composite Gauss-Legendre quadrature between break points about m and about y, where densities may have a kink.
    """
    std, sd = error.std[:, None], np.sqrt(v)[:, None]
    about = [m[:, None] + sd * CAVITY, m[:, None] - sd * CAVITY, y[:, None] + std * ERROR, y[:, None] - std * ERROR]
    edges = np.sort(np.concatenate(about, axis=1), axis=1)
    middle, half = (edges[:, 1:] + edges[:, :-1]) / 2, (edges[:, 1:] - edges[:, :-1]) / 2
    z = middle[..., None] + half[..., None] * NODES
    residual = (y[:, None, None] - z).reshape(len(y), -1).T
    z = z.reshape(len(y), -1)
    log_density = error.log_density(residual).T - 0.5 * ((z - m[:, None]) / sd) ** 2
    weights = np.exp(log_density - log_density.max(1, keepdims=True))
    weights *= (half[..., None] * NODE_WEIGHTS).reshape(len(y), -1)
    weights /= weights.sum(1, keepdims=True)
    mean = (weights * z).sum(1)
    return mean, (weights * (z - mean[:, None]) ** 2).sum(1)
