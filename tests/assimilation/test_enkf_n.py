import numpy as np
import pytest

from scoreda.assimilation.baselines import ETKF, EnKFN
from scoreda.assimilation.baselines.enkf_n import prior_precision
from scoreda.assimilation.baselines.ensembles import split
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import GaussianError, Identity, Observation

STILL = UserModel(lambda E: E, 6)


def drawn(N, seed, scale=1.0, Ny=6):
    """Observed anomalies and a mean residual `scale` times as large as they let expect."""
    rng = np.random.default_rng(seed)
    return split(rng.normal(size=(N, Ny)))[1], scale * 2**0.5 * rng.normal(size=Ny)


def analysis(method, E, y, variance=1.0):
    obs = Observation(0.0, y, Identity(6), GaussianError(variance, 6))
    return method.step(method.init(E), obs, np.random.default_rng(0))[0].ensemble


def constants(Y, certainty=1.0):
    """Epsilon and c as Bocquet et al. (2015) correct them: the mode of the prior is N - 1 where nothing is observed."""
    N = len(Y)
    share = (N - 1) / N * np.trace(np.linalg.inv((N - 1) * np.eye(N) + Y @ Y.T))
    correction = np.sqrt((1 + 1 / N) * (N - 1) / (N + 1)) ** share
    return certainty * (1 + 1 / N) / correction, certainty * (N + 1) * correction


@pytest.mark.parametrize("certainty", [1.0, 2.0])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("N", [4, 12])
def test_that_the_weights_are_a_minimum_of_the_primal_cost(N, scale, certainty):
    Y, d = drawn(N, 1, scale)
    epsilon, c = constants(Y, certainty)
    zeta = prior_precision(Y, d, certainty)
    w = np.linalg.solve(zeta * np.eye(N) + Y @ Y.T, Y @ d)
    np.testing.assert_allclose(zeta, c / (epsilon + w @ w), rtol=1e-10)
    np.testing.assert_allclose(c * w / (epsilon + w @ w), Y @ (d - w @ Y), atol=1e-10)

    def primal(w):
        return 0.5 * np.sum((d - w @ Y) ** 2) + 0.5 * c * np.log(epsilon + w @ w)

    others = w + 0.1 * np.random.default_rng(2).normal(size=(50, N))
    assert all(primal(other) >= primal(w) for other in others)


def test_that_of_two_minima_the_lower_is_taken():
    """One observation far outside a wide ensemble: trust it, or trust the ensemble."""
    Y, d = np.array([[3.0], [-3.0]]), np.array([40.0])
    epsilon, c = constants(Y)
    zeta = np.geomspace(1e-6, c / epsilon, 200_000)
    dual = 0.5 * d[0] ** 2 / (1 + 18 / zeta) + 0.5 * epsilon * zeta - 0.5 * c * np.log(zeta)
    np.testing.assert_allclose(prior_precision(Y, d), zeta[np.argmin(dual)], rtol=1e-3)


def test_that_without_information_the_ensemble_is_taken_at_its_word():
    Y, d = drawn(9, 3)
    np.testing.assert_allclose(prior_precision(1e-8 * Y, d), 8.0, rtol=1e-6)


def test_that_a_large_ensemble_gives_the_etkf_and_the_difference_falls_as_one_over_the_members():
    sizes = np.array([20, 80, 320])
    excess = [np.mean([abs(prior_precision(*drawn(N, seed)) / (N - 1) - 1) for seed in range(60)]) for N in sizes]
    np.testing.assert_allclose(np.polyfit(np.log(sizes), np.log(excess), 1)[0], -1.0, atol=0.15)


def test_that_the_analysis_is_that_of_an_etkf_whose_anomalies_are_inflated():
    """With the precision zeta in the place of N - 1: a factor of sqrt((N - 1) / zeta)."""
    rng = np.random.default_rng(5)
    E, y = rng.normal(size=(8, 6)), 4 + rng.normal(size=6)
    mean, A = split(E)
    zeta = prior_precision(A, y - mean)
    assert zeta < 4
    inflated = analysis(ETKF(STILL, inflation=(7 / zeta) ** 0.5, rotate=False), E, y)
    np.testing.assert_allclose(analysis(EnKFN(STILL, rotate=False), E, y), inflated, atol=1e-10)


def test_that_surprising_observations_inflate_and_certainty_resists():
    Y, d = drawn(10, 6)
    zetas = [prior_precision(Y, scale * d) for scale in (0.5, 1.0, 2.0, 4.0, 8.0)]
    assert (np.diff(zetas) < 0).all()
    assert prior_precision(Y, 4 * d) < prior_precision(Y, 4 * d, certainty=3.0) < 9


def test_that_it_tracks_lorenz96_without_inflation():
    model, method, rng = Lorenz96(40), EnKFN(Lorenz96(40)), np.random.default_rng(7)
    truth = model.step(model.random_states(1, rng), 400)
    state, errors = method.init(truth + rng.normal(size=(28, 40))), []
    for k in range(1, 401):
        truth = model.step(truth)
        obs = Observation(k * model.dt, truth[0] + rng.normal(size=40), Identity(40), GaussianError(1.0, 40))
        state, _ = method.step(state, obs, rng)
        errors.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
    assert np.mean(errors[100:]) < 0.23


def test_that_a_certainty_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="`certainty` must be positive, got 0"):
        EnKFN(STILL, certainty=0)
