"""The deterministic EnKF, and covariance localisation, which it shares with the stochastic one."""

import numpy as np
import pytest

from scoreda.assimilation.baselines import DEnKF, StochasticEnKF
from scoreda.assimilation.baselines.stochastic_enkf import tapers
from scoreda.assimilation.localisation import Localisation, gaspari_cohn
from scoreda.models import UserModel
from scoreda.observations import (
    CorrelatedGaussianError,
    GaussianError,
    Identity,
    Linear,
    Observation,
    UserOperator,
)

NX = 6
STILL = UserModel(lambda E: E, size=NX, dt=1.0)
H = np.random.default_rng(20).normal(size=(4, NX))
PLACES = np.array([0.0, 1.5, 3.0, 5.2])
FACTOR = np.random.default_rng(21).normal(size=(4, 4))
CORRELATED = CorrelatedGaussianError(FACTOR @ FACTOR.T + np.eye(4))
INDEPENDENT = GaussianError(np.array([0.5, 1.0, 2.0, 0.1]), 4)
Y = np.array([1.0, -2.0, 0.5, 3.0])


def members(N, seed=22):
    return np.random.default_rng(seed).normal(size=(N, NX)) @ np.random.default_rng(23).normal(size=(NX, NX))


def analysis(method, E, error=INDEPENDENT, operator=None, y=Y, seed=0):
    obs = Observation(0.0, y, operator or Linear(H, PLACES), error)
    return method.step(method.init(E), obs, np.random.default_rng(seed))[0].ensemble


def gain(P, R):
    return P @ H.T @ np.linalg.inv(H @ P @ H.T + R)


def ring(a, b):
    d = np.abs(a[:, None] - b)
    return np.minimum(d, NX - d)


@pytest.mark.parametrize("error", [INDEPENDENT, CORRELATED], ids=["independent", "correlated"])
@pytest.mark.parametrize("N", [3, 30])
def test_that_the_denkf_has_the_kalman_mean_and_half_the_gain_on_the_anomalies(N, error):
    E = members(N)
    P, R = np.cov(E.T), error.covariance
    K = gain(P, R)
    E_a = analysis(DEnKF(STILL), E, error)
    np.testing.assert_allclose(E_a.mean(0), E.mean(0) + K @ (Y - H @ E.mean(0)), atol=1e-10)
    excess = 0.25 * K @ H @ P @ H.T @ K.T
    np.testing.assert_allclose(np.cov(E_a.T), P - K @ H @ P + excess, atol=1e-10)


@pytest.mark.parametrize("N", [3, 30])
def test_that_perturbations_of_the_stochastic_enkf_have_the_full_error_covariance(N):
    E = members(N)
    xi = np.random.default_rng(0).normal(size=(N, 4)) @ np.linalg.cholesky(CORRELATED.covariance).T
    K = gain(np.cov(E.T), CORRELATED.covariance)
    expected = E + (Y + xi - xi.mean(0) - E @ H.T) @ K.T
    np.testing.assert_allclose(analysis(StochasticEnKF(STILL), E, CORRELATED), expected, atol=1e-10)


@pytest.mark.parametrize("error", [INDEPENDENT, CORRELATED], ids=["independent", "correlated"])
def test_that_localisation_tapers_both_covariances(error):
    E = members(5)
    P = np.cov(E.T)
    near_x, near_y = (gaspari_cohn(ring(a, PLACES) / 1.1) for a in (np.arange(NX), PLACES))
    K = (near_x * (P @ H.T)) @ np.linalg.inv(near_y * (H @ P @ H.T) + error.covariance)
    E_a = analysis(DEnKF(STILL, radius=1.1), E, error)
    expected = E + (Y - E.mean(0) @ H.T - 0.5 * (E - E.mean(0)) @ H.T) @ K.T
    np.testing.assert_allclose(E_a, expected, atol=1e-10)
    xi = np.random.default_rng(0).normal(size=(5, 4)) @ np.linalg.cholesky(error.covariance).T
    expected = E + (Y + xi - xi.mean(0) - E @ H.T) @ K.T
    np.testing.assert_allclose(analysis(StochasticEnKF(STILL, radius=1.1), E, error), expected, atol=1e-10)


@pytest.mark.parametrize("size", [12, 40, 41, 100])
def test_that_on_a_ring_the_tapers_are_a_covariance_up_to_a_quarter_of_it(size):
    def least(share):
        _, among = tapers(Localisation(share * size), Identity(size), "DEnKF")
        return np.linalg.eigvalsh(among)[0]

    assert min(least(share) for share in (0.1, 0.2, 0.25)) > 0
    assert least(0.4) < -0.04


@pytest.mark.parametrize("method", [DEnKF, StochasticEnKF])
def test_that_a_huge_radius_is_no_localisation(method):
    E = members(7)
    local = analysis(method(STILL, 1.05, radius=1e9), E)
    np.testing.assert_allclose(local, analysis(method(STILL, 1.05), E), atol=1e-10)


@pytest.mark.parametrize("method", [DEnKF, StochasticEnKF])
def test_that_localisation_needs_locations(method):
    nowhere = UserOperator(lambda E: E @ H.T, NX, 4)
    with pytest.raises(ValueError, match=f"{method.__name__} needs to know where.*`locations=`"):
        analysis(method(STILL, radius=2.0), members(5), operator=nowhere)


@pytest.mark.parametrize("method", [DEnKF, StochasticEnKF])
@pytest.mark.parametrize("radius", [0.0, -2.0, np.inf])
def test_that_a_radius_without_reach_is_refused(method, radius):
    with pytest.raises(ValueError, match="`radius` must be positive"):
        method(STILL, radius=radius)
