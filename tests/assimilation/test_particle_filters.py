"""Particle filters: resampling, and the three filters against the Kalman filter and against quadrature."""

import numpy as np
import pytest

from scoreda.assimilation.baselines import BootstrapPF, LocalPF, OptimalPF
from scoreda.assimilation.baselines.resampling import effective_size, normalised, resampled, survivors, systematic
from scoreda.models import AdditiveError, Lorenz96, Shocks, UserModel, WithModelError
from scoreda.observations import (
    CorrelatedGaussianError,
    Elementwise,
    GaussianError,
    Identity,
    LaplaceError,
    Linear,
    Observation,
    Sites,
    StudentTError,
    UserOperator,
)

F = np.array([[0.9, 0.3], [-0.2, 0.8]])
PLANE = UserModel(lambda E: E @ F.T, size=2, dt=0.5)
Q = np.array([[0.4, 0.1], [0.1, 0.2]])
NOISY = WithModelError(PLANE, AdditiveError(Q))
H = np.array([[1.0, -0.5]])
WEIGHTS = np.array([0.05, 0.4, 0.0, 0.25, 0.3])
STILL = UserModel(lambda E: E, size=1, dt=1.0)
RING = Lorenz96(40)


def step(method, E, obs, seed=0):
    return method.step(method.init(E), obs, np.random.default_rng(seed))


def test_that_systematic_resampling_rounds_the_expected_number_up_or_down():
    rng = np.random.default_rng(40)
    w = normalised(rng.normal(size=30))
    for _ in range(50):
        counts = np.bincount(systematic(w, rng), minlength=30)
        assert (np.abs(counts - 30 * w) < 1).all() and counts.sum() == 30


def test_that_systematic_resampling_is_unbiased():
    rng = np.random.default_rng(41)
    counts = np.array([np.bincount(systematic(WEIGHTS, rng), minlength=5) for _ in range(4000)])
    error = np.abs(counts.mean(0) - 5 * WEIGHTS)
    assert (error <= 5 * counts.std(0) / np.sqrt(4000)).all()
    assert not counts[:, 2].any()


def test_that_survivors_keep_their_places_and_the_numbers_of_offspring_stay():
    index = np.array([0, 0, 2, 4, 4, 4])
    kept = survivors(index)
    np.testing.assert_array_equal(np.sort(kept), index)
    assert kept[0] == 0 and kept[2] == 2 and kept[4] == 4


def test_that_weights_far_below_the_smallest_number_are_normalised_all_the_same():
    np.testing.assert_allclose(normalised(np.array([-5000.0, -5000.0, -5000.0 + np.log(2)])), [0.25, 0.25, 0.5])


@pytest.mark.parametrize(("w", "size"), [(np.full(8, 1 / 8), 8), (np.eye(8)[3], 1), (WEIGHTS, 1 / 0.315)])
def test_that_the_effective_size_counts_equal_particles(w, size):
    assert effective_size(w) == pytest.approx(size)


@pytest.mark.parametrize(("shrinkage", "growth"), [(False, 1.25), (True, 1.0)])
def test_that_regularisation_keeps_the_mean_and_adds_its_share_of_the_covariance_unless_shrunk(shrinkage, growth):
    rng, N = np.random.default_rng(42), 40_000
    E, w = rng.normal(size=(N, 2)) @ F + [3.0, -1.0], normalised(rng.normal(size=N))
    E_a, P = resampled(E, w, 0.5, rng, shrinkage), np.cov(E.T, aweights=w, ddof=0)
    assert len(np.unique(E_a[:, 0])) == N
    np.testing.assert_allclose(E_a.mean(0), w @ E, atol=5 * np.sqrt(1.25 * P.diagonal() / N).max())
    np.testing.assert_allclose(np.cov(E_a.T), growth * P, atol=0.02)


def test_that_a_kernel_as_wide_as_the_particles_leaves_the_gaussian_of_their_moments():
    rng, N = np.random.default_rng(49), 40_000
    E_a = resampled(rng.exponential(size=(N, 1)), np.full(N, 1 / N), 1.0, rng, shrinkage=True)[:, 0]
    z = (E_a - E_a.mean()) / E_a.std()
    assert abs((z**3).mean()) < 5 * np.sqrt(6 / N)  # 2 before
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(24 / N)  # 9 before


def cycles(method, N, number, steps_between=1):
    """Mean and covariance after some observations of a linear model, by a particle filter and by Kalman's."""
    rng, E = np.random.default_rng(43), np.random.default_rng(44).normal(size=(N, 2))
    state, m, P = method.init(E), np.zeros(2), np.eye(2)
    errors = GaussianError(0.3, 1)
    for k in range(1, number + 1):
        obs = Observation(k * steps_between * PLANE.dt, rng.normal(size=1), Linear(H), errors)
        state, info = method.step(state, obs, rng)
        for _ in range(steps_between):
            m, P = F @ m, F @ P @ F.T + PLANE.dt * Q
        K = P @ H.T / (H @ P @ H.T + 0.3)
        m, P = m + K @ (obs.values - H @ m), P - K @ H @ P
    return state, m, P, info


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", [BootstrapPF, OptimalPF])
def test_that_on_a_linear_gaussian_model_the_filter_is_kalmans_within_sampling_error(kind, steps):
    state, mean, P, info = cycles(kind(NOISY, bandwidth=0.0), 40_000, 6, steps)
    E = state.ensemble
    assert info.diagnostics["ess"] > 4000  # else the standard error below would mean nothing
    effective = np.sqrt(info.diagnostics["ess"] / 4)  # after several resamplings
    assert (np.abs(E.mean(0) - mean) < 5 * np.sqrt(P.diagonal()) / effective).all()
    np.testing.assert_allclose(np.cov(E.T), P, atol=5 * np.abs(P).max() / effective)


def distance_to_kalman(kind, shrinkage):
    """Largest error of the covariance and of the mean, in units of the largest variance."""
    state, mean, P, _ = cycles(kind(NOISY, 0.8, shrinkage), 20_000, 6)
    E = state.ensemble
    return np.abs(np.cov(E.T) - P).max() / P.max(), np.abs(E.mean(0) - mean).max() / np.sqrt(P.max())


@pytest.mark.parametrize("kind", [BootstrapPF, OptimalPF])
def test_that_with_shrinkage_a_wide_kernel_leaves_the_filter_kalmans_and_without_it_does_not(kind):
    (covariance, mean), (smeared, moved) = (distance_to_kalman(kind, shrinkage) for shrinkage in (True, False))
    assert covariance < 0.1 and mean < 0.1
    assert smeared > 5 * covariance and moved > mean


def one_observation(E, values=(2.5,), variance=0.02):
    return Observation(PLANE.dt, np.array(values), Linear(H), GaussianError(variance, 1))


def test_that_the_optimal_proposal_keeps_more_particles_alive():
    E = np.random.default_rng(45).normal(size=(2000, 2))
    blind, seeing = (step(kind(NOISY, 0.0), E, one_observation(E))[1] for kind in (BootstrapPF, OptimalPF))
    assert seeing.diagnostics["ess"] > 2 * blind.diagnostics["ess"]


def test_that_the_optimal_weights_are_the_densities_of_the_observation_given_the_particles():
    E, S = np.random.default_rng(46).normal(size=(50, 2)), float((H @ Q @ H.T * PLANE.dt)[0, 0] + 0.02)
    _, info = step(OptimalPF(NOISY), E, one_observation(E))
    w = normalised(-0.5 * (2.5 - (E @ F.T @ H.T)[:, 0]) ** 2 / S)
    assert info.diagnostics["ess"] == pytest.approx(effective_size(w), rel=1e-10)


def test_that_at_the_same_time_the_optimal_proposal_is_the_bootstrap_filter():
    E = np.random.default_rng(47).normal(size=(50, 2))
    obs = Observation(0.0, np.array([0.5]), Linear(H), GaussianError(0.3, 1))
    (one, _), (two, _) = step(OptimalPF(NOISY), E, obs), step(BootstrapPF(NOISY, 0.0), E, obs)
    np.testing.assert_allclose(one.ensemble, two.ensemble, atol=1e-12)


GRID = np.linspace(-12, 12, 200_001)


@pytest.mark.parametrize(
    "error", [GaussianError(0.3, 1), LaplaceError(0.3, 1), StudentTError(0.3, 1)], ids=lambda e: e.name
)
def test_that_the_posterior_of_an_absolute_value_is_that_of_quadrature(error):
    """Prior N(0.3, 1.5^2) and |x| observed: two modes."""
    N, operator = 40_000, Elementwise(Identity(1), "abs")
    E = 0.3 + 1.5 * np.random.default_rng(48).normal(size=(N, 1))
    state, info = step(BootstrapPF(STILL, 0.0), E, Observation(0.0, np.array([1.6]), operator, error))
    density = np.exp(-0.5 * ((GRID - 0.3) / 1.5) ** 2 + error.log_density(1.6 - np.abs(GRID)[:, None])[:, 0])
    density /= density.sum()
    found = state.ensemble[:, 0]
    for function in (lambda x: x, lambda x: x**2, lambda x: x > 0, np.exp):
        exact = density @ function(GRID)
        std = np.sqrt(density @ (function(GRID) - exact) ** 2)
        assert abs(function(found).mean() - exact) < 5 * std / np.sqrt(info.diagnostics["ess"] / 2)


def weighted_moments(E, w):
    mean = w @ E
    return mean, (w @ (E - mean) ** 2) / (1 - w @ w)


@pytest.mark.parametrize("error", [GaussianError(0.5, 1), LaplaceError(0.5, 1)], ids=lambda e: e.name)
def test_that_one_observation_gives_the_local_filter_the_weighted_moments(error):
    E = np.random.default_rng(49).normal(size=(60, 40))
    obs = Observation(0.0, np.array([1.2]), Elementwise(Sites(40, [7]), "abs"), error)
    state, info = step(LocalPF(RING, radius=1e9, alpha=1.0), E, obs)
    w = normalised(error.log_density(1.2 - np.abs(E[:, [7]]))[:, 0])
    mean, variance = weighted_moments(E, w)
    np.testing.assert_allclose(state.ensemble.mean(0), mean, atol=1e-10)
    np.testing.assert_allclose(state.ensemble.var(0, ddof=1), variance, rtol=1e-10)
    assert info.diagnostics["ess"] == pytest.approx(effective_size(w))


def test_that_several_observations_multiply_their_local_weights():
    """Two variables, each near one observation only: each has the moments of its own weights."""
    E = np.random.default_rng(50).normal(size=(60, 40))
    operator, error = Sites(40, [3, 23]), GaussianError(np.array([0.5, 0.2]), 2)
    near = lambda r: (r < 1).astype(float)
    obs = Observation(0.0, np.array([1.0, -0.5]), operator, error)
    E_a = step(LocalPF(RING, radius=2.0, alpha=1.0, taper=near), E, obs)[0].ensemble
    for site, y, R in ((3, 1.0, 0.5), (23, -0.5, 0.2)):
        mean, variance = weighted_moments(E, normalised(-0.5 * (y - E[:, site]) ** 2 / R))
        np.testing.assert_allclose(E_a[:, [site, site + 1]].mean(0), mean[[site, site + 1]], atol=1e-10)
        np.testing.assert_allclose(E_a[:, site].var(ddof=1), variance[site], rtol=1e-10)
    far = np.abs((np.arange(40)[:, None] - [3, 23] + 20) % 40 - 20).min(1) >= 2
    np.testing.assert_array_equal(E_a[:, far], E[:, far])


def test_that_alpha_bounds_the_weights_from_below():
    E = np.linspace(-1, 1, 50)[:, None]
    obs = Observation(0.0, np.array([1.0]), Identity(1), GaussianError(1e-6, 1))
    _, strict = step(LocalPF(STILL, radius=1.0, alpha=1.0), E, obs)
    _, mild = step(LocalPF(STILL, radius=1.0, alpha=0.9), E, obs)
    w = np.array([0.1] * 49 + [1.0])
    assert strict.diagnostics["ess"] == pytest.approx(1)
    assert mild.diagnostics["ess"] == pytest.approx(w.sum() ** 2 / (w @ w), rel=1e-6)


def test_that_the_optimal_proposal_needs_additive_errors():
    for model in (PLANE, WithModelError(PLANE, Shocks())):
        with pytest.raises(ValueError, match="additive errors, got.*BootstrapPF"):
            OptimalPF(model)


@pytest.mark.parametrize(
    ("operator", "error"),
    [(Elementwise(Identity(2), "abs"), GaussianError(1.0, 2)), (Identity(2), LaplaceError(1.0, 2))],
    ids=["operator", "error"],
)
def test_that_the_optimal_proposal_refuses_what_is_not_linear_and_gaussian(operator, error):
    with pytest.raises(ValueError, match="linear operator and Gaussian errors.*BootstrapPF"):
        step(OptimalPF(NOISY), np.zeros((3, 2)), Observation(0.5, np.zeros(2), operator, error))


def test_that_the_local_filter_refuses_what_it_cannot_take_in_turn():
    E, correlated = np.zeros((5, 1)), CorrelatedGaussianError(np.eye(2) + 0.5)
    nowhere = UserOperator(lambda E: E, 1, 1)
    with pytest.raises(ValueError, match="LocalPF.*must be independent"):
        step(LocalPF(STILL, 1.0), E, Observation(0.0, np.zeros(2), Linear(np.ones((2, 1))), correlated))
    with pytest.raises(ValueError, match="LocalPF needs to know where"):
        step(LocalPF(STILL, 1.0), E, Observation(0.0, np.zeros(1), nowhere, GaussianError(1.0, 1)))


@pytest.mark.parametrize("bandwidth", [-0.1, np.nan, np.inf])
def test_that_a_bandwidth_below_zero_is_refused(bandwidth):
    with pytest.raises(ValueError, match="`bandwidth` must"):
        BootstrapPF(STILL, bandwidth)


@pytest.mark.parametrize("filter_of", [BootstrapPF, OptimalPF])
def test_that_with_shrinkage_a_bandwidth_above_one_is_refused(filter_of):
    with pytest.raises(ValueError, match="`bandwidth` must not be above 1 with shrinkage, got 1.5"):
        filter_of(NOISY, 1.5, shrinkage=True)
    filter_of(NOISY, 1.5)


@pytest.mark.parametrize("alpha", [0.0, 1.1, np.nan])
def test_that_an_alpha_outside_the_unit_interval_is_refused(alpha):
    with pytest.raises(ValueError, match="`alpha` must be in"):
        LocalPF(STILL, 1.0, alpha)
