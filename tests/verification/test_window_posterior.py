"""The sampled posterior of a window against exact ones: Gaussian, of two modes, of heavy tails."""

import numpy as np
import pytest

from scoreda.models import AdditiveError, Lorenz96, UserModel, WithModelError
from scoreda.observations import Elementwise, EveryNth, GaussianError, Identity, LaplaceError, Observation
from scoreda.verification import window_posterior

STANDING = UserModel(lambda E: E, 1)


def test_that_the_posterior_of_a_linear_window_is_the_kalman_smoothers_and_filters():
    rng, n, K = np.random.default_rng(0), 12, 4
    M = 1.02 * np.linalg.qr(rng.normal(size=(n, n)))[0]
    A, mean = rng.normal(size=(n, n)), rng.normal(size=n)
    P = A @ A.T / n + 0.1 * np.eye(n)
    window = [Observation(k + 2.0, rng.normal(size=6), EveryNth(n, 2), GaussianError(0.1, 6)) for k in range(K)]
    G = np.vstack([np.linalg.matrix_power(M, k + 1)[::2] for k in range(K)])
    gain = P @ G.T @ np.linalg.inv(G @ P @ G.T + 0.1 * np.eye(6 * K))
    expected, C = mean + gain @ (np.concatenate([obs.values for obs in window]) - G @ mean), P - gain @ G @ P

    model = UserModel(lambda E: E @ M.T, n)
    found = window_posterior(model, window, mean, P, rng, time=1.0, members=2000, moves=20)
    power = np.linalg.matrix_power(M, K)
    for E, centre, covariance in (
        (found.start, expected, C),
        (found.end, power @ expected, power @ C @ power.T),
    ):
        error = (E.mean(0) - centre) / np.sqrt(np.diag(covariance))
        assert np.sqrt(np.mean(error**2)) < 2 / np.sqrt(2000)
        whitened = np.linalg.solve(np.linalg.cholesky(covariance), (E - E.mean(0)).T)
        np.testing.assert_allclose(np.linalg.eigvalsh(whitened @ whitened.T / 1999), 1, atol=0.25)


@pytest.mark.parametrize(
    ("function", "error", "value"),
    [
        ("abs", GaussianError(0.3**2, 1), 2.0),
        ("square", GaussianError(1.0, 1), 3.0),
        ("identity", LaplaceError(1.0, 1), 4.0),
    ],
)
def test_that_modes_and_tails_keep_their_share(function, error, value):
    """Against quadrature; of |x| and x^2 a third of the draws is on the smaller side, far from the others."""
    operator = Identity(1) if function == "identity" else Elementwise(Identity(1), function)
    obs = Observation(0.0, np.array([value]), operator, error)
    found = window_posterior(STANDING, [obs], np.array([0.2]), np.eye(1), np.random.default_rng(1), members=4000)
    x = np.linspace(-6, 6, 20_001)[:, None]
    mass = np.exp(-0.5 * (x[:, 0] - 0.2) ** 2 + error.log_density(value - operator(x))[:, 0])
    mass /= mass.sum()
    draws = np.sort(found.start[:, 0])
    distribution = np.interp(draws, x[:, 0], np.cumsum(mass))
    assert np.abs(distribution - (np.arange(4000) + 0.5) / 4000).max() < 0.03


def test_that_missing_values_count_for_nothing_and_runs_repeat():
    ring, rng = Lorenz96(6), np.random.default_rng(2)
    mean = ring.step(ring.random_states(1, rng), 400)[0]
    gone = Observation(0.05, np.full(6, np.nan), Identity(6), GaussianError(1.0, 6))
    seen = Observation(0.1, mean.copy(), Identity(6), GaussianError(1.0, 6))
    settings = dict(mean=mean, covariance=np.eye(6), members=100, moves=2)
    one = window_posterior(ring, [gone, seen], rng=np.random.default_rng(3), **settings)
    two = window_posterior(ring, [seen], rng=np.random.default_rng(3), **settings)
    np.testing.assert_array_equal(one.start, two.start)
    np.testing.assert_array_equal(one.end, ring.step(one.start, 2))


def test_that_states_from_which_the_model_blows_up_have_no_weight():
    model = UserModel(lambda E: np.where(E > 0.5, np.inf, E), 1)
    obs = Observation(1.0, np.array([0.0]), Identity(1), GaussianError(1.0, 1))
    found = window_posterior(model, [obs], np.zeros(1), np.eye(1), np.random.default_rng(4), members=500)
    assert found.end.max() <= 0.5


def test_that_observations_which_no_draw_can_have_led_to_are_refused():
    model = UserModel(lambda E: np.full_like(E, np.inf), 1)
    obs = Observation(1.0, np.array([0.0]), Identity(1), GaussianError(1.0, 1))
    with pytest.raises(ValueError, match="impossible after every draw"):
        window_posterior(model, [obs], np.zeros(1), np.eye(1), np.random.default_rng(4))


def test_that_random_models_and_too_few_members_are_refused():
    obs = Observation(0.05, np.zeros(6), Identity(6), GaussianError(1.0, 6))
    rng, noisy = np.random.default_rng(0), WithModelError(Lorenz96(6), AdditiveError(0.1))
    with pytest.raises(ValueError, match="must be deterministic"):
        window_posterior(noisy, [obs], np.zeros(6), np.eye(6), rng)
    with pytest.raises(ValueError, match="at least 8.*got 7"):
        window_posterior(Lorenz96(6), [obs], np.zeros(6), np.eye(6), rng, members=7)
