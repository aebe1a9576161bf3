import numpy as np
import pytest

from scoreda.datasets import simulate, twin_dataset
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import (
    CorrelatedGaussianError,
    Elementwise,
    EveryNth,
    GaussianError,
    Identity,
    LaplaceError,
    Linear,
    Network,
    StudentTError,
)
from scoreda.verification import kalman_floor
from scoreda.verification.floor import expected_rmse, fisher_information

M = np.array([[0.9, 0.3, 0.0], [-0.2, 1.05, 0.1], [0.0, -0.4, 0.8]])
H = np.array([[1.0, 0.0, 0.5], [0.0, 2.0, 0.0]])
R = np.array([[0.5, 0.2], [0.2, 1.5]])
LINEAR = UserModel(lambda E: E @ M.T, 3, tangent=lambda x, dX: (M @ x, dX @ M.T))
RING = Lorenz96(size=12)


def linear_twin(obs, error):
    network, steps = Network(Linear(H), error, times=[1.0, 3.0, 4.0]), (1, 3, 4)
    truth = np.stack([np.linalg.matrix_power(M, k) @ np.ones(3) for k in steps])
    return twin_dataset(LINEAR, network, np.array(network.times), obs, truth, np.ones(3))


def kalman(P, keep):
    """Return the analysis covariance of the textbook formula from that of the forecast."""
    if not keep:
        return P
    H_k, R_k = H[keep], R[np.ix_(keep, keep)]
    K = P @ H_k.T @ np.linalg.inv(H_k @ P @ H_k.T + R_k)
    return P - K @ H_k @ P


def test_that_the_floor_of_a_linear_system_is_the_kalman_filter_also_where_values_are_missing():
    obs = np.zeros((3, 2))
    obs[0, 0] = obs[1] = np.nan
    P = 4 * np.eye(3)
    found = kalman_floor(linear_twin(obs, CorrelatedGaussianError(R)), std=2.0, model=LINEAR)
    for steps, keep, covariance in zip((1, 2, 1), ([1], [], [0, 1]), found, strict=True):
        power = np.linalg.matrix_power(M, steps)
        P = kalman(power @ P @ power.T, keep)
        np.testing.assert_allclose(covariance, P, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("error", "information"),
    [
        (GaussianError([0.5, 4.0], 2), [2.0, 0.25]),
        (LaplaceError([0.5, 4.0], 2), [4.0, 0.5]),
        (StudentTError([0.5, 4.0], 2, df=3), [4.0, 0.5]),
        (StudentTError([0.5, 4.0], 2, df=5), [2 * 6 / 8 * 5 / 3, 0.25 * 6 / 8 * 5 / 3]),
    ],
    ids=["gaussian", "laplace", "student_t3", "student_t5"],
)
def test_that_the_information_of_errors_is_that_of_the_textbook(error, information):
    np.testing.assert_allclose(fisher_information(error), information, rtol=1e-5)


def test_that_correlated_errors_have_no_information_each():
    with pytest.raises(ValueError, match="have no information of their own"):
        fisher_information(CorrelatedGaussianError(R))


def floors(operator, error):
    twin = simulate(RING, Network(operator, error, interval=0.1), cycles=20, seed=3)
    return np.stack(list(kalman_floor(twin)))


def test_that_errors_of_twice_the_information_give_the_floor_of_half_the_variance():
    heavy, half = floors(Identity(12), StudentTError(1.0, 12)), floors(Identity(12), GaussianError(0.5, 12))
    np.testing.assert_allclose(heavy, half, rtol=1e-4, atol=1e-6)


def test_that_the_floor_takes_the_sign_behind_an_absolute_value_for_known():
    plain, bare = EveryNth(12, 2), Elementwise(EveryNth(12, 2), "abs")
    np.testing.assert_allclose(floors(bare, GaussianError(1.0, 6)), floors(plain, GaussianError(1.0, 6)), rtol=1e-9)


@pytest.mark.parametrize(
    ("P", "mean"),
    [
        ([[9.0]], 3 * np.sqrt(2 / np.pi)),
        (4 * np.eye(2), 2 * np.sqrt(np.pi / 2) / np.sqrt(2)),
        (np.eye(3), 2 * np.sqrt(2 / np.pi) / np.sqrt(3)),
        ([[1.0, 1.0], [1.0, 1.0]], np.sqrt(2 / np.pi)),
        (np.zeros((2, 2)), 0.0),
    ],
    ids=["one variable", "two", "three", "one direction of two", "none"],
)
def test_that_the_expected_rmse_of_a_gaussian_error_is_the_mean_of_its_norm(P, mean):
    assert expected_rmse(np.array(P)) == pytest.approx(mean, rel=1e-10)


def test_that_a_twin_without_a_truth_has_no_floor():
    twin = linear_twin(np.zeros((3, 2)), GaussianError(1.0, 2)).drop_vars("truth")
    with pytest.raises(ScoredaError, match="no `truth`"):
        next(kalman_floor(twin, model=LINEAR))


def test_that_a_model_without_a_tangent_is_refused():
    twin, bare = linear_twin(np.zeros((3, 2)), GaussianError(1.0, 2)), UserModel(lambda E: E @ M.T, 3)
    with pytest.raises(ValueError, match="the Kalman floor needs a model that offers 'tangent'"):
        next(kalman_floor(twin, model=bare))


def test_that_times_between_model_steps_have_no_floor():
    twin = linear_twin(np.zeros((3, 2)), CorrelatedGaussianError(R)).assign_coords(time=[1.0, 2.6, 4.0])
    with pytest.raises(ValueError, match="cannot step from time 1 to 2.6 with dt = 1"):
        list(kalman_floor(twin, model=LINEAR))
