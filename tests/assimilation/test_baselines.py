import numpy as np
import pytest

from scoreda.assimilation.baselines import (
    ETKF,
    LETKF,
    Climatological,
    OptimalInterpolation,
    StochasticEnKF,
    ensembles,
)
from scoreda.assimilation.baselines.ensembles import inflated, rotation
from scoreda.assimilation.baselines.kernels import local_update
from scoreda.assimilation.localisation import neighbourhoods
from scoreda.datasets import Climatology
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import Elementwise, EveryNth, GaussianError, Identity, Observation, Sites, UserOperator

NX = 6
STILL = UserModel(lambda E: E, size=NX, dt=1.0)
H = np.random.default_rng(8).normal(size=(4, NX))  # dense and asymmetric
R = np.array([0.5, 1.0, 2.0, 0.1])
LINEAR = UserOperator(lambda E: E @ H.T, NX, 4, tangent=lambda x, dX: dX @ H.T, locations=np.arange(4.0), linear=True)
RING = Lorenz96(40)


def kalman(mean, P, y):
    """The exact update of `N(mean, P)` with `y = H x + N(0, R)`."""
    K = P @ H.T @ np.linalg.inv(H @ P @ H.T + np.diag(R))
    return mean + K @ (y - H @ mean), P - K @ H @ P


def gaussian_prior(rng):
    chol = np.tril(rng.normal(size=(NX, NX))) + 2 * np.eye(NX)
    return rng.normal(size=NX), chol


def analysis(method, E, y, operator=LINEAR, variance=R, seed=0):
    """The analysis at the time of the ensemble itself, without a forecast."""
    obs = Observation(0.0, y, operator, GaussianError(variance, operator.size))
    state, _ = method.step(method.init(E), obs, np.random.default_rng(seed))
    return state.ensemble


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("N", [4, 30])
def test_that_the_etkf_is_the_kalman_update_with_the_sample_covariance(N, rotate):
    rng = np.random.default_rng(1)
    E, y = rng.normal(size=(N, NX)) * 3, rng.normal(size=4)
    mean, P = kalman(E.mean(0), np.cov(E.T), y)
    E_a = analysis(ETKF(STILL, rotate=rotate), E, y)
    np.testing.assert_allclose(E_a.mean(0), mean, atol=1e-10)
    np.testing.assert_allclose(np.cov(E_a.T), P, atol=1e-10)


def test_that_the_symmetric_square_root_moves_the_anomalies_least():
    rng = np.random.default_rng(2)
    E, y = rng.normal(size=(10, NX)), rng.normal(size=4)
    moved = [np.linalg.norm(analysis(ETKF(STILL, rotate=r), E, y) - E) for r in (False, True)]
    assert moved[0] < moved[1]


def enkf_errors(N, repeats=40):
    """Root-mean-square error of the analysis mean and covariance over repeated draws of the prior ensemble."""
    rng = np.random.default_rng(4)
    prior_mean, chol = gaussian_prior(rng)
    y = rng.normal(size=4)
    mean, P = kalman(prior_mean, chol @ chol.T, y)
    errors = []
    for k in range(repeats):
        E_a = analysis(StochasticEnKF(STILL), prior_mean + rng.normal(size=(N, NX)) @ chol.T, y, seed=k)
        errors.append([np.mean((E_a.mean(0) - mean) ** 2), np.mean((np.cov(E_a.T) - P) ** 2)])
    return np.sqrt(np.mean(errors, axis=0))


def test_that_the_error_of_the_stochastic_enkf_falls_as_the_root_of_the_members():
    sizes = [50, 200, 800, 3200]
    slopes = np.polyfit(np.log(sizes), np.log([enkf_errors(N) for N in sizes]), 1)[0]
    np.testing.assert_allclose(slopes, -0.5, atol=0.06)


@pytest.mark.parametrize("N", [3, 50])
def test_that_the_stochastic_enkf_applies_the_sample_gain_to_every_member(N):
    rng = np.random.default_rng(5)
    E, y = rng.normal(size=(N, NX)), rng.normal(size=4)
    P = np.cov(E.T)
    K = P @ H.T @ np.linalg.inv(H @ P @ H.T + np.diag(R))
    eps = np.sqrt(R) * np.random.default_rng(0).normal(size=(N, 4))
    expected = E + (y + eps - eps.mean(0) - E @ H.T) @ K.T
    np.testing.assert_allclose(analysis(StochasticEnKF(STILL), E, y), expected, atol=1e-10)


@pytest.mark.parametrize("operator", [Identity(40), Elementwise(EveryNth(40, 3), "arctan")], ids=["linear", "arctan"])
@pytest.mark.parametrize("rotate", [False, True])
def test_that_the_letkf_with_a_huge_radius_is_the_etkf(operator, rotate):
    rng = np.random.default_rng(6)
    E, y = 2 + rng.normal(size=(12, 40)), rng.normal(size=operator.size)
    variance = rng.uniform(0.5, 2, operator.size)
    settings = dict(inflation=1.1, rotate=rotate)
    local = analysis(LETKF(RING, radius=1e9, **settings), E, y, operator, variance)
    np.testing.assert_allclose(local, analysis(ETKF(RING, **settings), E, y, operator, variance), atol=1e-10)


def test_that_an_observation_beyond_the_support_changes_nothing_at_all():
    rng = np.random.default_rng(7)
    E, method = rng.normal(size=(9, 40)), LETKF(RING, radius=2.0, inflation=1.05)
    one = analysis(method, E, np.array([1.0]), Sites(40, [5]), 1.0)
    two = analysis(method, E, np.array([1.0, -3.0]), Sites(40, [5, 38]), 1.0)
    reached = (np.abs((np.arange(40) - 38 + 20) % 40 - 20)) < 4
    np.testing.assert_array_equal(one[:, ~reached], two[:, ~reached])
    assert (one[:, reached] != two[:, reached]).all()


def test_that_threads_do_not_change_a_bit():
    rng = np.random.default_rng(17)
    A, Y, d = rng.normal(size=(9, 40)), rng.normal(size=(9, 10)), rng.normal(size=10)
    near = neighbourhoods(np.arange(0.0, 40.0, 4.0), 40, 3.0)
    for one, many in zip(*(local_update(A, Y, np.ones(10), d, *near, parallel=p) for p in (False, True)), strict=True):
        np.testing.assert_array_equal(one, many)


def test_that_without_observations_nearby_the_forecast_is_only_inflated():
    E = np.random.default_rng(7).normal(size=(9, 40))
    E_a = analysis(LETKF(RING, radius=2.0, inflation=1.05), E, np.array([1.0]), Sites(40, [5]), 1.0)
    np.testing.assert_allclose(E_a[:, 10:], inflated(E, 1.05)[:, 10:], atol=1e-14)


def test_that_the_letkf_commutes_with_shifts_of_the_ring():
    rng = np.random.default_rng(9)
    E, y, method = rng.normal(size=(9, 40)), rng.normal(size=40), LETKF(RING, radius=4.0)
    shifted = analysis(method, np.roll(E, 7, axis=1), np.roll(y, 7), Identity(40), 1.0)
    np.testing.assert_allclose(shifted, np.roll(analysis(method, E, y, Identity(40), 1.0), 7, axis=1), atol=1e-12)


@pytest.mark.parametrize("periodic", [True, False])
def test_that_only_on_a_ring_the_first_observation_reaches_the_last_variable(periodic):
    E = np.random.default_rng(10).normal(size=(9, 40))
    E_a = analysis(LETKF(RING, radius=4.0, periodic=periodic), E, np.array([2.0]), Sites(40, [0]), 1.0)
    assert np.allclose(E_a[:, -1], E[:, -1], atol=1e-13) is not periodic


def test_that_a_rotation_is_orthogonal_keeps_mean_and_covariance_and_differs_each_time():
    rng = np.random.default_rng(11)
    Q, E = rotation(9, rng), rng.normal(size=(9, NX))
    np.testing.assert_allclose(Q @ Q.T, np.eye(9), atol=1e-10)
    np.testing.assert_allclose((Q @ E).mean(0), E.mean(0), atol=1e-10)
    np.testing.assert_allclose(np.cov((Q @ E).T), np.cov(E.T), atol=1e-10)
    assert np.abs(rotation(9, rng) - Q).max() > 0.1


def test_that_rotations_are_uniform_over_the_anomalies():
    """The mean over the group is the projection on the ones, entry by entry, within 5 standard errors."""
    rng = np.random.default_rng(12)
    Q = np.array([rotation(4, rng) for _ in range(4000)])
    assert (np.abs(Q.mean(0) - 0.25) < 5 * Q.std(0) / np.sqrt(4000)).all()


def test_that_small_ensembles_are_split_to_the_same_bits_as_large_ones(monkeypatch):
    E = 5 + 3 * np.random.default_rng(1).normal(size=(20, 40))
    small = ensembles.inflated_split(E, 1.06)
    monkeypatch.setattr(ensembles, "FEW", 0)
    for kernel, plain in zip(small, ensembles.inflated_split(E, 1.06), strict=True):
        np.testing.assert_array_equal(kernel, plain)
    np.testing.assert_array_equal(plain, (E - E.sum(0) / 20) * 1.06)


@pytest.mark.parametrize("method", [ETKF, StochasticEnKF, lambda m, inflation: LETKF(m, 9.0, inflation)])
def test_that_inflation_scales_the_forecast_anomalies_before_the_analysis(method):
    rng = np.random.default_rng(13)
    E, y = rng.normal(size=(9, NX)), rng.normal(size=4)
    E_inflated = E.mean(0) + 1.3 * (E - E.mean(0))
    np.testing.assert_allclose(
        analysis(method(STILL, inflation=1.3), E, y), analysis(method(STILL, inflation=1.0), E_inflated, y), atol=1e-12
    )


def sampled_climatology(samples=500):
    mean, chol = gaussian_prior(np.random.default_rng(14))
    return Climatology.of(mean + np.random.default_rng(15).normal(size=(samples, NX)) @ chol.T)


def test_that_optimal_interpolation_equals_the_dense_formula():
    climate, y = sampled_climatology(), np.array([1.0, -2.0, 0.5, 3.0])
    E_a = analysis(OptimalInterpolation(STILL, climate), np.zeros((500, NX)), y)
    mean, P = kalman(climate.mean, climate.cov, y)
    np.testing.assert_allclose(E_a.mean(0), mean, atol=1e-10)
    np.testing.assert_allclose(np.cov(E_a.T), P, atol=5 * np.abs(P).max() / np.sqrt(500))


def test_that_optimal_interpolation_linearises_a_nonlinear_operator_by_regression():
    climate, y, operator = sampled_climatology(), np.array([0.5, 1.0]), Elementwise(Sites(NX, [4, 1]), "abs")
    joint = np.cov(np.hstack([climate.states, operator(climate.states)]).T)
    K = joint[:NX, NX:] @ np.linalg.inv(joint[NX:, NX:] + 0.3 * np.eye(2))
    expected = climate.mean + K @ (y - operator(climate.states).mean(0))
    E_a = analysis(OptimalInterpolation(STILL, climate), np.zeros((20, NX)), y, operator, 0.3)
    np.testing.assert_allclose(E_a.mean(0), expected, atol=1e-10)


def test_that_the_climatological_mean_is_exact_and_blind_to_the_observations():
    climate = sampled_climatology()
    method = Climatological(STILL, climate, members=7)
    E_a, other = (analysis(method, np.zeros((3, NX)), np.full(4, y)) for y in (0.0, 9.0))
    assert E_a.shape == (7, NX)
    np.testing.assert_allclose(E_a.mean(0), climate.mean, atol=1e-12)
    np.testing.assert_array_equal(E_a, other)


@pytest.mark.parametrize("members", [0, 1, 2.5])
def test_that_fewer_than_two_climatological_members_are_refused(members):
    with pytest.raises(ValueError, match=f"`members` must be a whole number from 2 on, got {members}"):
        Climatological(STILL, sampled_climatology(), members)


@pytest.mark.parametrize(("method", "rmse"), [(ETKF(RING, 1.02), 0.22), (LETKF(RING, 12.0, 1.02), 0.22)])
def test_that_a_square_root_filter_tracks_lorenz96(method, rmse):
    rng = np.random.default_rng(16)
    truth = RING.step(RING.random_states(1, rng), 400)
    state = method.init(truth + rng.normal(size=(28, 40)))
    errors = []
    for k in range(1, 401):
        truth = RING.step(truth)
        obs = Observation(k * RING.dt, truth[0] + rng.normal(size=40), Identity(40), GaussianError(1.0, 40))
        state, _ = method.step(state, obs, rng)
        errors.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
    assert np.mean(errors[100:]) < rmse


def test_that_the_letkf_refuses_an_operator_without_locations():
    nowhere = UserOperator(lambda E: E @ H.T, NX, 4)
    with pytest.raises(ValueError, match="no locations.*`locations=`.*ETKF"):
        analysis(LETKF(STILL, radius=2.0), np.eye(4, NX), np.zeros(4), nowhere)


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan])
def test_that_a_radius_that_is_not_positive_is_refused(radius):
    with pytest.raises(ValueError, match="`radius` must be positive"):
        LETKF(STILL, radius=radius)


@pytest.mark.parametrize("inflation", [0.0, -1.0, np.nan, np.inf])
def test_that_an_inflation_that_is_not_positive_is_refused(inflation):
    with pytest.raises(ValueError, match="`inflation` must be positive"):
        ETKF(STILL, inflation=inflation)
