"""Correlated observation errors: the dense Kalman update, or a refusal."""

import numpy as np
import pytest

from scoreda.assimilation.baselines import ETKF, LETKF, LocalIEnKS, OptimalInterpolation, Persistence
from scoreda.assimilation.score import CoupledScoreFilter, Score4D
from scoreda.assimilation.score.kernel_window import KernelWindow
from scoreda.datasets import Climatology
from scoreda.models import UserModel
from scoreda.observations import CorrelatedGaussianError, GaussianError, Linear, Observation

NX, NY, N = 6, 4, 30
drawn = np.random.default_rng(70)
M = np.eye(NX) + 0.3 * drawn.normal(size=(NX, NX))
MODEL = UserModel(
    lambda E: E @ M.T, NX, tangent=lambda x, dX: (M @ x, dX @ M.T), torch_function=lambda x: x @ x.new_tensor(M.T)
)
H = drawn.normal(size=(NY, NX))
R = 0.9 + 0.1 * np.eye(NY)
OPERATOR = Linear(H, locations=np.arange(0.0, NY))
FIRST = drawn.normal(size=(N, NX)) @ drawn.normal(size=(NX, NX)) + 1
CLIMATE = Climatology.of(drawn.normal(size=(500, NX)) @ drawn.normal(size=(NX, NX)) + 2)


def observation(k=0, error=None):
    values = np.random.default_rng(71 + k).normal(size=NY) * 3
    return Observation(float(k), values, OPERATOR, error or CorrelatedGaussianError(R))


def kalman(mean, P, obs):
    K = P @ H.T @ np.linalg.inv(H @ P @ H.T + obs.error.covariance)
    return mean + K @ (obs.values - H @ mean), P - K @ H @ P


def analysis(method, E=FIRST, obs=None):
    return method.step(method.init(E), obs or observation(), np.random.default_rng(0))[0]


@pytest.mark.parametrize(
    "method",
    [ETKF(MODEL), ETKF(MODEL, rotate=False), CoupledScoreFilter(MODEL, radius=None, learned=0.0)],
    ids=["ETKF", "ETKF not rotated", "coupled"],
)
def test_that_an_ensemble_filter_is_the_kalman_update(method):
    E = analysis(method).ensemble
    mean, P = kalman(FIRST.mean(0), np.cov(FIRST.T), observation())
    np.testing.assert_allclose(E.mean(0), mean, atol=1e-10)
    np.testing.assert_allclose(np.cov(E.T), P, atol=1e-9)


def test_that_optimal_interpolation_and_persistence_are_the_kalman_update_of_the_climate():
    mean, P = kalman(CLIMATE.mean, CLIMATE.cov, observation())
    first = np.zeros((500, NX))
    for E in (
        analysis(OptimalInterpolation(MODEL, CLIMATE), first).ensemble,
        analysis(Persistence(MODEL, CLIMATE), first).memory["next"],
    ):
        np.testing.assert_allclose(E.mean(0), mean, atol=1e-10)
        np.testing.assert_allclose(np.cov(E.T), P, atol=5 * np.abs(P).max() / np.sqrt(500))


def test_that_perturbations_of_optimal_interpolation_have_the_full_error_covariance():
    """Where next to nothing was known, the analysis is the perturbed observation."""
    wide = Climatology(CLIMATE.mean, 1e12 * CLIMATE.cov, CLIMATE.states)
    E = analysis(OptimalInterpolation(MODEL, wide), np.zeros((5000, NX))).ensemble
    np.testing.assert_allclose(np.cov(OPERATOR(E).T), R, atol=5 * np.sqrt(2 / 5000))


@pytest.mark.parametrize("device", [None, "cpu"])
def test_that_score4d_with_a_gaussian_prior_is_the_kalman_filter(device):
    method = Score4D(MODEL, CLIMATE, particles=1, tolerance=1e-9, device=device)
    state, (mean, P) = method.init(np.zeros((4000, NX))), (CLIMATE.mean, CLIMATE.cov)
    for k in range(1, 5):
        error = GaussianError([0.5, 1.0, 2.0, 0.1], NY) if k == 2 else None  # of one operator, both kinds
        obs = observation(k, error)
        mean, P = kalman(M @ mean, M @ P @ M.T, obs)
        state, _ = method.step(state, obs, np.random.default_rng(k))
    np.testing.assert_allclose(state.ensemble.mean(0), mean, atol=1e-8)
    np.testing.assert_allclose(np.cov(state.ensemble.T), P, atol=6 * P.max() / np.sqrt(4000))


def test_that_the_misfit_of_a_window_is_minus_the_log_likelihood():
    window = KernelWindow(MODEL, 0.0, [observation(1), observation(2)])
    one, two = (window.extend(x[None]) for x in FIRST[:2])
    likelihood = lambda nodes: sum(
        obs.error.log_density(obs.values - H @ x).sum() for obs, x in zip(window.past, nodes[1:], strict=True)
    )
    gain = window.misfit(one) - window.misfit(two)
    np.testing.assert_allclose(gain, likelihood(two) - likelihood(one), rtol=1e-10)


@pytest.mark.parametrize("method", [LETKF(MODEL, 2.0), LocalIEnKS(MODEL, 2.0)])
def test_that_a_method_that_tapers_error_precisions_refuses_them(method):
    with pytest.raises(ValueError, match="must be independent, got 'correlated_gaussian'.*StochasticEnKF"):
        analysis(method)
