"""Particles that keep their weights: importance sampling, what stands for them, and what is resampled when."""

import numpy as np
import pytest
import xarray as xr

from scoreda.assimilation import RTPS, Inflated, assimilate, resume
from scoreda.assimilation.baselines import BootstrapPF, OptimalPF
from scoreda.assimilation.baselines.resampling import effective_size, log_likelihood, normalised, resampled
from scoreda.assimilation.baselines.weighted import Weighted
from scoreda.errors import ScoredaError
from scoreda.models import AdditiveError, UserModel, WithModelError
from scoreda.observations import GaussianError, Identity, Linear, Observation

F = np.array([[0.9, 0.3], [-0.2, 0.8]])
PLANE = UserModel(lambda E: E @ F.T, size=2, dt=1.0)
Q = np.array([[0.4, 0.1], [0.1, 0.2]])
NOISY = WithModelError(PLANE, AdditiveError(Q))
H, R = np.array([[1.0, -0.5]]), 0.3
VALUES = (0.4, -0.9, 1.3, 0.2, 0.8)
GROWING = UserModel(lambda E: 3 * E, size=1, dt=1.0)


def observations(values=VALUES, start=0):
    return [
        Observation(start + k, np.array([y]), Linear(H), GaussianError(R, 1)) for k, y in enumerate(values, start=1)
    ]


def ensemble(N):
    return np.random.default_rng(60).normal(size=(N, 2))


def run(method, E, obs, seed=61):
    """Return the last state and the diagnostic of every cycle."""
    rng, state, infos = np.random.default_rng(seed), method.init(E), []
    for one in obs:
        state, info = method.step(state, one, rng)
        infos.append(info)
    return state, infos


def kalman(values, Q):
    m, P = np.zeros(2), np.eye(2)
    for y in values:
        m, P = F @ m, F @ P @ F.T + Q
        K = P @ H.T / (H @ P @ H.T + R)
        m, P = m + K @ ([y] - H @ m), P - K @ H @ P
    return m, P


def test_that_without_resampling_the_weights_are_those_of_importance_sampling():
    E = ensemble(300)
    state, infos = run(BootstrapPF(PLANE, 0.0, threshold=0.0), E, observations())
    total = np.zeros(300)
    for y in VALUES:
        E = E @ F.T
        total -= 0.5 * (y - E @ H[0]) ** 2 / R
    found = Weighted.of(state)
    np.testing.assert_allclose(found.particles, E, atol=1e-13)
    np.testing.assert_allclose(found.log_weights, total - total.max(), atol=1e-11)
    assert infos[-1].diagnostics["ess"] == pytest.approx(effective_size(normalised(total)), rel=1e-10)


@pytest.mark.parametrize("threshold", [0.0, 0.3])
@pytest.mark.parametrize(
    ("kind", "model", "Q"),
    [(BootstrapPF, PLANE, 0 * Q), (BootstrapPF, NOISY, Q), (OptimalPF, NOISY, Q)],
    ids=["perfect model", "random model", "optimal proposal"],
)
def test_that_weighted_moments_are_kalmans_within_sampling_error(kind, model, Q, threshold):
    state, infos = run(kind(model, 0.0, threshold=threshold), ensemble(40_000), observations())
    found, (m, P) = Weighted.of(state), kalman(VALUES, Q)
    effective = np.sqrt(infos[-1].diagnostics["ess"] / 4)
    assert effective > 15  # else this would mean nothing
    for E, w in ((found.particles, normalised(found.log_weights)), (state.ensemble, np.full(40_000, 1 / 40_000))):
        assert (np.abs(w @ E - m) < 5 * np.sqrt(P.diagonal()) / effective).all()
        np.testing.assert_allclose(np.cov(E.T, aweights=w, ddof=0), P, atol=5 * P.max() / effective)


@pytest.mark.parametrize("shrinkage", [False, True])
def test_that_a_threshold_of_one_resamples_at_every_time_and_keeps_nothing(shrinkage):
    E = ensemble(60)
    state, _ = run(BootstrapPF(PLANE, 0.4, shrinkage), E, observations())
    rng = np.random.default_rng(61)
    for obs in observations():
        E = E @ F.T
        E = resampled(E, normalised(log_likelihood(E, obs)), 0.4, rng, shrinkage)
    np.testing.assert_array_equal(state.ensemble, E)
    assert not state.memory


def test_that_equal_weights_are_resampled_by_a_threshold_of_one_alone():
    obs = Observation(1.0, np.array([0.0]), Linear(0 * H), GaussianError(R, 1))
    E = ensemble(7)  # 1 / sum of seven squares is above 7 by rounding
    for threshold, moved in ((1.0, True), (0.99, False)):
        state, _ = run(BootstrapPF(PLANE, 0.5, threshold=threshold), E, [obs])
        assert np.array_equal(state.ensemble, E @ F.T) is not moved


@pytest.mark.parametrize("kind", [BootstrapPF, OptimalPF])
def test_that_particles_are_resampled_just_when_too_few_are_effective(kind):
    method, rng, resamplings = kind(NOISY, 0.0, threshold=0.5), np.random.default_rng(62), 0
    state = method.init(ensemble(200))
    for obs in observations(4 * VALUES):
        state, info = method.step(state, obs, rng)
        assert (not state.memory) == (info.diagnostics["ess"] < 100)
        resamplings += not state.memory
    assert 0 < resamplings < 20


def test_that_the_ensemble_is_a_systematic_sample_of_the_particles_and_the_prior_its_forecast():
    method, rng = BootstrapPF(PLANE, 0.2, threshold=0.0), np.random.default_rng(63)
    state = method.init(ensemble(50))
    for obs in observations():
        before = state.ensemble
        state, info = method.step(state, obs, rng)
        np.testing.assert_allclose(info.prior, before @ F.T, atol=1e-13)
        found = Weighted.of(state)
        counts = (state.ensemble[:, None] == found.particles).all(-1).sum(0)
        assert (np.abs(counts - 50 * normalised(found.log_weights)) < 1).all() and counts.sum() == 50


def test_that_without_values_the_particles_move_on_with_their_weights():
    method, rng = BootstrapPF(PLANE, threshold=0.0), np.random.default_rng(64)
    (first,), (missing,) = observations([0.4]), observations([np.nan], start=1)
    before, _ = method.step(method.init(ensemble(20)), first, rng)
    after, info = method.step(before, missing, rng)
    np.testing.assert_array_equal(after.memory["log_weights"], before.memory["log_weights"])
    np.testing.assert_allclose(after.memory["particles"], before.memory["particles"] @ F.T, atol=1e-13)
    np.testing.assert_array_equal(after.ensemble, info.prior)


def test_that_with_duplicates_only_the_first_of_each_stays_in_its_place():
    rng = np.random.default_rng(65)
    E, w = rng.normal(size=(200, 2)), normalised(2 * rng.normal(size=200))
    plain, jittered = (resampled(E, w, h, np.random.default_rng(66), duplicates_only=True) for h in (0.0, 0.5))
    stayed = (plain == jittered).all(1)
    _, first = np.unique(plain, axis=0, return_index=True)
    np.testing.assert_array_equal(np.flatnonzero(stayed), np.sort(first))
    assert len(np.unique(jittered, axis=0)) == 200


def test_that_with_duplicates_only_the_others_have_the_kernel():
    rng, N = np.random.default_rng(67), 40_000
    E, w = rng.normal(size=(N, 2)), normalised(2 * rng.normal(size=N))
    plain, jittered = (resampled(E, w, h, np.random.default_rng(68), duplicates_only=True) for h in (0.0, 0.5))
    moved = (jittered - plain)[(plain != jittered).any(1)]
    assert len(moved) > N / 2
    np.testing.assert_allclose(np.cov(moved.T), 0.25 * np.cov(E.T, aweights=w, ddof=0), atol=0.02)


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("values", [(1e200,), (0.5, 1e200), (0.5, 1e200, -1e200, 0.2)])
@pytest.mark.filterwarnings("ignore:overflow")
def test_that_an_observation_that_no_particle_could_have_made_tells_nothing(threshold, values):
    state, infos = run(BootstrapPF(NOISY, 0.2, threshold=threshold), ensemble(30), observations(values))
    assert np.isfinite(state.ensemble).all()
    assert all(1 <= info.diagnostics["ess"] <= 30 + 1e-9 for info in infos)
    if threshold == 0.0:
        ess, impossible = np.array([info.diagnostics["ess"] for info in infos]), np.abs(values[1:]) > 1e100
        np.testing.assert_array_equal(ess[1:][impossible], ess[:-1][impossible])


@pytest.mark.parametrize("share", [1e-3, 1e-12, 0.0])
def test_that_a_single_survivor_has_a_kernel_as_wide_as_the_distance_to_the_others(share):
    rng, N = np.random.default_rng(70), 5000
    E, w = np.r_[0.0, np.ones(N - 1)][:, None], np.r_[1 - share, np.full(N - 1, share / (N - 1))]
    duplicates = resampled(E, w, 0.5, rng, duplicates_only=True)[1 : N // 2, 0]
    # The unbiased variance of 0 and 1, of which one is rare, is one half.
    assert duplicates.std() == pytest.approx(0.5 * np.sqrt(0.5), rel=0.1)
    assert not np.ptp(resampled(E, np.r_[1.0, np.zeros(N - 1)], 0.5, rng))


def test_that_a_particle_that_blows_up_shows_whatever_its_weight():
    E = np.array([[1.0], [1.1], [1e308]])
    near, later = (
        Observation(t, np.array([y]), Identity(1), GaussianError(1.0, 1)) for t, y in ((0.0, 1.0), (1.0, 3.0))
    )
    with np.errstate(over="ignore"):
        state, _ = run(BootstrapPF(GROWING, threshold=0.0), E, [near])
        assert np.isfinite(state.ensemble).all()
        state, _ = run(BootstrapPF(GROWING, threshold=0.0), E, [near, later])
    assert not np.isfinite(state.ensemble).all()


def file_of(values):
    return xr.Dataset(coords={"time": np.arange(1.0, len(values) + 1), "obs": (("time", "obs"), np.c_[list(values)])})


def test_that_a_checkpoint_goes_on_with_its_weights_and_refuses_another_threshold(tmp_path):
    given, path = dict(operator=Linear(H), error=GaussianError(R, 1)), tmp_path / "stopped.nc"
    E, twin = ensemble(40), file_of(VALUES)
    start = lambda **stop: assimilate(
        twin, BootstrapPF(PLANE, 0.1, threshold=0.1), E, np.random.default_rng(69), **given, **stop
    )
    whole = start()
    start(cycles=2, checkpoint=path)
    with xr.open_dataset(path) as stopped:
        assert "log_weights" in {stopped[name].attrs.get("name") for name in stopped.variables}
    xr.testing.assert_equal(resume(path, twin, BootstrapPF(PLANE, 0.1, threshold=0.1), **given), whole)
    with pytest.raises(ScoredaError, match=r"threshold = 0\.1, not 0\.5"):
        resume(path, twin, BootstrapPF(PLANE, 0.1, threshold=0.5), **given)


def test_that_weighted_particles_are_not_inflated_from_outside():
    with pytest.raises(ValueError, match="cannot be inflated from outside"):
        Inflated(BootstrapPF(PLANE, threshold=0.0), RTPS(0.5))


@pytest.mark.parametrize("kind", [BootstrapPF, OptimalPF])
@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan])
def test_that_a_threshold_that_is_no_share_is_refused(kind, threshold):
    with pytest.raises(ValueError, match="`threshold` must be in"):
        kind(NOISY, threshold=threshold)


@pytest.mark.parametrize("kind", [BootstrapPF, OptimalPF])
def test_that_duplicates_alone_cannot_be_shrunk(kind):
    with pytest.raises(ValueError, match="`duplicates_only`.*Pass one of the two"):
        kind(NOISY, 0.5, shrinkage=True, duplicates_only=True)
