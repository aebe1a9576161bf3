"""Filters that take one observation after the other: square root, and rank histogram."""

import numpy as np
import pytest
from scipy.stats import norm

from scoreda.assimilation.baselines import ETKF, RankHistogramFilter, SerialEnSRF
from scoreda.assimilation.baselines.serial_kernels import normal_quantile
from scoreda.assimilation.localisation import gaspari_cohn
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import (
    CorrelatedGaussianError,
    Elementwise,
    GaussianError,
    Identity,
    LaplaceError,
    Linear,
    Observation,
    Sites,
    UserOperator,
)

NX = 6
STILL = UserModel(lambda E: E, size=NX, dt=1.0)
SCALAR = UserModel(lambda E: E, size=1, dt=1.0)
RING = Lorenz96(40)
H = np.random.default_rng(30).normal(size=(4, NX))
R = np.array([0.5, 1.0, 2.0, 0.1])
Y = np.array([1.0, -2.0, 0.5, 3.0])
BOTH = [SerialEnSRF, RankHistogramFilter]


def analysis(method, E, y=Y, operator=None, error=None, seed=0):
    operator = operator or Linear(H)
    obs = Observation(0.0, y, operator, error or GaussianError(R, operator.size))
    return method.step(method.init(E), obs, np.random.default_rng(seed))[0].ensemble


def members(N, seed=31):
    return np.random.default_rng(seed).normal(size=(N, NX)) @ np.random.default_rng(32).normal(size=(NX, NX))


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("N", [4, 30])
def test_that_serial_is_batch_in_mean_and_covariance(N, rotate):
    E = members(N)
    serial, batch = analysis(SerialEnSRF(STILL, rotate=rotate), E), analysis(ETKF(STILL), E)
    np.testing.assert_allclose(serial.mean(0), batch.mean(0), atol=1e-10)
    np.testing.assert_allclose(np.cov(serial.T), np.cov(batch.T), atol=1e-10)


def test_that_without_localisation_the_order_does_not_matter_to_mean_and_covariance():
    E, order = members(9), [2, 0, 3, 1]
    shuffled = Observation(0.0, Y[order], Linear(H[order]), GaussianError(R[order], 4))
    method = SerialEnSRF(STILL)
    other = method.step(method.init(E), shuffled, np.random.default_rng(0))[0].ensemble
    np.testing.assert_allclose(other.mean(0), analysis(method, E).mean(0), atol=1e-10)
    np.testing.assert_allclose(np.cov(other.T), np.cov(analysis(method, E).T), atol=1e-10)


def by_hand(E, y, sites, radius):
    """Whitaker and Hamill's update, one observation after the other, with dense tapered gains."""
    E, Nx = E.copy(), E.shape[1]
    for j, site in enumerate(sites):
        distance = np.abs(np.arange(Nx) - site)
        taper = gaspari_cohn(np.minimum(distance, Nx - distance) / radius)
        mean, A = E.mean(0), E - E.mean(0)
        s = np.var(E[:, site], ddof=1)
        K = taper * (A.T @ A[:, site] / (len(E) - 1)) / (s + R[j])
        reduced = K / (1 + np.sqrt(R[j] / (s + R[j])))
        E = mean + K * (y[j] - mean[site]) + A - np.outer(A[:, site], reduced)
    return E


def test_that_the_localised_filter_is_that_of_whitaker_and_hamill():
    E, sites = np.random.default_rng(33).normal(size=(8, 40)), [5, 7, 39, 20]
    local = analysis(SerialEnSRF(RING, radius=3.0), E, operator=Sites(40, sites))
    np.testing.assert_allclose(local, by_hand(E, Y, sites, 3.0), atol=1e-12)


@pytest.mark.parametrize("kind", BOTH)
def test_that_an_observation_beyond_the_support_changes_nothing(kind):
    E, method = np.random.default_rng(34).normal(size=(8, 40)), kind(RING, radius=2.0)
    one = analysis(method, E, Y[:1], Sites(40, [5]), GaussianError(1.0, 1))
    two = analysis(method, E, Y[:2], Sites(40, [5, 38]), GaussianError(1.0, 2))
    reached = np.abs((np.arange(40) - 38 + 20) % 40 - 20) < 4
    np.testing.assert_array_equal(one[:, ~reached], two[:, ~reached])
    assert (one[:, reached] != two[:, reached]).all()


@pytest.mark.parametrize("kind", BOTH)
def test_that_a_huge_radius_is_no_localisation(kind):
    E, operator = np.random.default_rng(35).normal(size=(8, 40)), Elementwise(Sites(40, [1, 4, 5, 30]), "arctan")
    local, everywhere = (analysis(kind(RING, radius=r), E, operator=operator) for r in (1e9, None))
    np.testing.assert_allclose(local, everywhere, atol=1e-10)


@pytest.mark.parametrize("kind", BOTH)
def test_that_observed_members_without_spread_are_left_alone(kind):
    E = members(8)
    E[:, 2] = 1.0
    E_a = analysis(kind(STILL), E, Y[:1], Sites(NX, [2]), GaussianError(1.0, 1))
    np.testing.assert_allclose(E_a, E, atol=1e-12)


@pytest.mark.parametrize("kind", BOTH)
def test_that_correlated_errors_are_refused(kind):
    error = CorrelatedGaussianError(np.eye(4) + 0.5)
    with pytest.raises(ValueError, match="must be independent, got 'correlated_gaussian'.*StochasticEnKF"):
        analysis(kind(STILL), members(5), error=error)


@pytest.mark.parametrize("kind", BOTH)
def test_that_localisation_needs_locations(kind):
    nowhere = UserOperator(lambda E: E @ H.T, NX, 4)
    with pytest.raises(ValueError, match=f"{kind.__name__} needs to know where.*`locations=`"):
        analysis(kind(STILL, radius=2.0), members(5), operator=nowhere)


@pytest.mark.parametrize("p", [1e-12, 1e-5, 0.01, 0.3, 0.5])
def test_that_the_normal_quantile_is_that_of_scipy(p):
    assert normal_quantile(p) == pytest.approx(norm.ppf(p), rel=1e-12, abs=1e-14)


X = np.linspace(-9, 9, 36001)


def quantiles(density, at):
    cdf = np.cumsum(density)
    return np.interp(at, cdf / cdf[-1], X)


@pytest.mark.parametrize(
    ("operator", "error"),
    [(Identity(1), GaussianError(0.7, 1)), (Identity(1), LaplaceError(0.5, 1))],
    ids=["Gaussian errors", "Laplace errors"],
)
def test_that_the_rank_histogram_filter_has_the_posterior_quantiles_of_a_bimodal_prior(operator, error):
    N, levels = 4000, np.linspace(0.02, 0.98, 25)
    mixture = 0.6 * norm.pdf(X, -1.5, 0.5) + 0.4 * norm.pdf(X, 1.2, 0.8)
    E = quantiles(mixture, np.arange(1, N + 1) / (N + 1))[:, None]
    y = np.array([0.4])
    exact = quantiles(mixture * np.exp(error.log_density(y - X[:, None])[:, 0]), levels)
    found = np.quantile(analysis(RankHistogramFilter(SCALAR), E, y, operator, error), levels)
    np.testing.assert_allclose(found, exact, atol=4e-3)


def test_that_members_keep_their_order_and_a_flat_likelihood_moves_none():
    E = np.random.default_rng(36).normal(size=(15, 1))
    E_a = analysis(RankHistogramFilter(SCALAR), E, np.array([2.0]), Identity(1), GaussianError(0.5, 1))
    np.testing.assert_array_equal(np.argsort(E_a[:, 0]), np.argsort(E[:, 0]))
    flat = analysis(RankHistogramFilter(SCALAR), E, np.array([2.0]), Identity(1), GaussianError(1e14, 1))
    np.testing.assert_allclose(flat, E, atol=1e-9)


def test_that_a_gaussian_posterior_comes_out_even_far_in_the_tail():
    """All members lie below the observation, whose error is small: the posterior lies in the upper tail."""
    E = norm.ppf(np.arange(1, 20) / 20)[:, None]
    E_a = analysis(RankHistogramFilter(SCALAR), E, np.array([4.0]), Identity(1), GaussianError(0.25, 1))
    assert E_a.min() > 1.0 and E_a.max() > E.max() and np.isfinite(E_a).all()


def test_that_the_rank_histogram_filter_moves_what_is_not_observed_by_regression():
    E = members(12)
    E_a = analysis(RankHistogramFilter(STILL), E, Y[:1], Sites(NX, [3]), LaplaceError(0.5, 1))
    slope = np.cov(E.T)[:, 3] / np.var(E[:, 3], ddof=1)
    np.testing.assert_allclose(E_a - E, np.outer(E_a[:, 3] - E[:, 3], slope), atol=1e-12)
