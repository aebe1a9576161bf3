"""The ensemble Kalman smoother and the iterative smoothers."""

from functools import partial

import numpy as np
import pytest
from scipy.optimize import brentq

from scoreda.assimilation import assimilate, initial_ensemble, load_state, save_state
from scoreda.assimilation.baselines import ETKF, LETKF, Adaptive, EnKFN, EnKS, IEnKS, Inflated, LocalIEnKS
from scoreda.assimilation.baselines.lag import Flow, Lag
from scoreda.datasets import simulate
from scoreda.models import AdditiveError, Lorenz63, Lorenz96, UserModel, WithModelError
from scoreda.observations import (
    CorrelatedGaussianError,
    Elementwise,
    EveryNth,
    GaussianError,
    Identity,
    Linear,
    Network,
    Observation,
    Sites,
)

NX, N = 5, 8
drawn = np.random.default_rng(30)
M = np.linalg.qr(drawn.normal(size=(NX, NX)))[0] + 0.3 * drawn.normal(size=(NX, NX))
H = drawn.normal(size=(3, NX))
R = (lambda L: L @ L.T + np.eye(3))(drawn.normal(size=(3, 3)))
VALUES = drawn.normal(size=(5, 3))
FIRST = drawn.normal(size=(N, NX)) * 2
MODEL = UserModel(lambda E: E @ M.T, NX)
RING = Lorenz96(40)


def observation(k):
    return Observation(float(k + 1), VALUES[k], Linear(H), CorrelatedGaussianError(R))


def uncorrelated(k):
    return Observation(float(k + 1), VALUES[k], Linear(H), GaussianError([0.5, 1.0, 2.0], 3))


def run(method, steps, make=observation, E=FIRST):
    """The states after each step; every step has a generator of its own."""
    state, states = method.init(E), []
    for k in range(steps):
        state, _ = method.step(state, make(k), np.random.default_rng(k))
        states.append(state)
    return states


def power(k):
    return np.linalg.matrix_power(M, k)


def smoothed(at, steps):
    """Mean and covariance of the state after `at` steps given the first `steps` observations: one dense regression."""
    mean, P = FIRST.mean(0), np.cov(FIRST.T)
    G = np.concatenate([H @ power(k + 1) for k in range(steps)])
    K = P @ G.T @ np.linalg.inv(G @ P @ G.T + np.kron(np.eye(steps), R))
    mean, P = mean + K @ (VALUES[:steps].ravel() - G @ mean), P - K @ G @ P
    return power(at) @ mean, power(at) @ P @ power(at).T


def assert_gaussian(E, mean, P):
    np.testing.assert_allclose(E.mean(0), mean, atol=1e-10)
    np.testing.assert_allclose(np.cov(E.T), P, atol=1e-10)


def test_that_the_enks_is_the_kalman_smoother_at_every_time_of_its_lag():
    state = run(EnKS(MODEL, lag=3), 5)[-1]
    assert state.memory["times"].tolist() == [2.0, 3.0, 4.0, 5.0]
    for time, E in zip(state.memory["times"], state.memory["smoothed"], strict=True):
        assert_gaussian(E, *smoothed(int(time), 5))


@pytest.mark.parametrize("lag", [0, 2])
def test_that_the_analysis_of_the_enks_is_the_etkfs(lag):
    ours, etkf = (run(m, 4, uncorrelated) for m in (EnKS(MODEL, lag, inflation=1.2), ETKF(MODEL, inflation=1.2)))
    for one, two in zip(ours, etkf, strict=True):
        np.testing.assert_allclose(one.ensemble, two.ensemble, atol=1e-10)
    assert len(ours[-1].memory["smoothed"]) == lag + 1


def test_that_inflation_that_adapts_goes_on_from_where_it_was_around_the_enks_as_around_the_etkf():
    scheme = Adaptive(0.5, least=0.1)
    smoother, etkf = (run(Inflated(m, scheme), 5, uncorrelated) for m in (EnKS(MODEL, lag=2), ETKF(MODEL)))
    found, factors = ([float(state.memory["inflation"]) for state in states] for states in (smoother, etkf))
    np.testing.assert_allclose(found, factors, rtol=1e-6)
    assert np.abs(np.diff(factors)).min() > 1e-3 and abs(factors[0] - 1) > 1e-3


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("inflation", [1.0, 1.3])
def test_that_the_ienks_with_lag_zero_and_one_iteration_is_the_etkf(rotate, inflation):
    settings = dict(inflation=inflation, rotate=rotate)
    ienks = run(IEnKS(MODEL, lag=0, iterations=1, **settings), 4, uncorrelated)
    for one, two in zip(ienks, run(ETKF(MODEL, **settings), 4, uncorrelated), strict=True):
        np.testing.assert_allclose(one.ensemble, two.ensemble, atol=1e-10)


@pytest.mark.parametrize("multiple", [False, True], ids=["single", "multiple"])
@pytest.mark.parametrize("lag", [1, 3])
def test_that_the_ienks_is_the_kalman_filter_for_every_lag(lag, multiple):
    for steps, state in enumerate(run(IEnKS(MODEL, lag, multiple=multiple), 5), start=1):
        assert_gaussian(state.ensemble, *smoothed(steps, steps))


@pytest.mark.parametrize("certainty", [0.5, 1.0, 3.0])
def test_that_the_finite_size_ienks_with_lag_zero_is_the_enkf_n_on_a_linear_problem(certainty):
    smoother = IEnKS(MODEL, 0, iterations=200, tolerance=1e-13, certainty=certainty, rotate=False)
    expected = run(EnKFN(MODEL, certainty, rotate=False), 4)
    for found, filtered in zip(run(smoother, 4), expected, strict=True):
        np.testing.assert_allclose(found.ensemble, filtered.ensemble, atol=1e-8)
    assert np.abs(expected[0].ensemble - run(ETKF(MODEL), 1)[0].ensemble).max() > 1e-3


def test_that_with_single_assimilation_the_start_of_the_window_is_the_kalman_smoother():
    for steps, state in enumerate(run(IEnKS(MODEL, lag=2), 5), start=1):
        lag = Lag.of(state)
        assert lag.times[0] == max(0, steps - 2)
        assert_gaussian(lag.start, *smoothed(int(lag.times[0]), steps))


def test_that_with_multiple_assimilation_an_observation_counts_in_full_when_it_leaves_the_window():
    """After 2 steps with lag 2 the start has one full observation and half of the next."""
    start = run(IEnKS(MODEL, lag=2, multiple=True), 2)[-1].memory["start"]
    precision = np.linalg.inv(np.cov(FIRST.T))
    for k, share in ((1, 1.0), (2, 0.5)):
        G = H @ power(k)
        precision += share * G.T @ np.linalg.solve(R, G)
    np.testing.assert_allclose(np.cov(start.T), np.linalg.inv(precision), atol=1e-10)


@pytest.mark.parametrize("settings", [{}, {"bundle": 0.1}, {"multiple": True}, {"inflation": 1.2}])
def test_that_iterating_on_a_linear_problem_changes_nothing(settings):
    one, many = (run(IEnKS(MODEL, 2, iterations=n, tolerance=1e-12, **settings), 4) for n in (1, 6))
    for few, more in zip(one, many, strict=True):
        np.testing.assert_allclose(few.ensemble, more.ensemble, atol=1e-10)


def nonlinear_cost(w, E, obs):
    """J of the weights of a window on Lorenz96 of two steps, one observation at the end."""
    x = RING.step((E.mean(0) + w @ (E - E.mean(0)))[None], 2)[0]
    return 0.5 * (len(E) - 1) * w @ w + 0.5 * float(np.sum((obs.values - obs.operator(x)) ** 2 / obs.error.variance))


@pytest.mark.parametrize("bundle", [None, 1e-3])
def test_that_the_weights_reach_the_minimum_of_the_cost(bundle):
    """Of a bundle that is narrow; members as far apart as the posterior come close."""
    rng = np.random.default_rng(31)
    truth = RING.step(RING.random_states(1, rng), 400)[0]
    E = truth + rng.normal(size=(6, 40))
    operator = Elementwise(EveryNth(40, 2), "arctan")
    values = operator(RING.step(truth[None], 2)[0]) + 0.3 * rng.normal(size=20)
    obs = Observation(0.1, values, operator, GaussianError(0.09, 20))
    method = IEnKS(RING, lag=1, iterations=60, tolerance=1e-9, bundle=bundle, rotate=False)
    state, info = method.step(method.init(E), obs, rng)
    w = np.linalg.lstsq((E - E.mean(0)).T, state.memory["start"].mean(0) - E.mean(0), rcond=None)[0]
    gradient, start = (
        [nonlinear_cost(at + h, E, obs) - nonlinear_cost(at - h, E, obs) for h in 1e-5 * np.eye(6)] for at in (w, 0 * w)
    )
    assert np.linalg.norm(gradient) < (1e-3 if bundle else 0.3) * np.linalg.norm(start)
    assert nonlinear_cost(w, E, obs) < nonlinear_cost(np.zeros(6), E, obs)
    assert info.diagnostics["iterations"] > 1


def test_that_steps_are_halved_where_whole_ones_run_away():
    """Towards arctan(x) = 0 from x = 6 they lead to and fro, ever farther than the one minimum, which is near 0."""
    E = 6 + np.linspace(-2, 2, 5)[:, None]
    prior_precision = 1 / E.var(ddof=1)
    obs = Observation(0.0, np.zeros(1), Elementwise(Identity(1), "arctan"), GaussianError(0.1**2, 1))
    method = IEnKS(UserModel(lambda E: E, 1), lag=0, iterations=100, tolerance=1e-8, bundle=1e-3)
    state, _ = method.step(method.init(E), obs, np.random.default_rng(0))
    exact = brentq(lambda x: (x - 6) * prior_precision + np.arctan(x) / (1 + x**2) / 0.1**2, -1, 1)
    assert state.ensemble.mean() == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("smoother", [IEnKS, partial(LocalIEnKS, radius=7.5)], ids=["global", "local"])
def test_that_it_finds_the_truth_through_arctan_from_the_climatology(smoother):
    """Whole steps end in infinity at the first observation time."""
    network = Network(Elementwise(Identity(40), "arctan"), GaussianError(0.05**2, 40), interval=0.1)
    twin = simulate(RING, network, cycles=150, seed=3)
    rng = np.random.default_rng(4)
    ensemble = initial_ensemble(twin, 40, "climatology", rng=rng)
    analysis = assimilate(twin, smoother(RING, lag=4, inflation=1.1), ensemble, rng=rng)["analysis"].mean("member")
    assert np.sqrt(((analysis - twin["truth"])[-20:] ** 2).mean()) < 0.06


def test_that_the_cost_in_model_steps_is_what_was_run():
    """Forecast, one move of the window, one relinearisation and the final run of a window of two."""
    state, info = None, None
    method, rng = IEnKS(MODEL, lag=2, iterations=2, tolerance=1e-12), np.random.default_rng(0)
    state = method.init(FIRST)
    for k in range(3):
        state, info = method.step(state, observation(k), rng)
    assert info.diagnostics["model_steps"] == N * (1 + 1 + 2 + 2)
    assert info.diagnostics["iterations"] == 2


def test_that_a_step_below_the_tolerance_is_the_last():
    method = IEnKS(MODEL, lag=2, tolerance=1e6)
    _, info = method.step(method.init(FIRST), observation(0), np.random.default_rng(0))
    assert info.diagnostics["iterations"] == 1


def test_that_a_time_without_observations_does_not_move_the_window():
    def make(k):
        values = np.full(3, np.nan) if k == 2 else VALUES[k]
        return Observation(float(k + 1), values, Linear(H), GaussianError(1.0, 3))

    states = run(IEnKS(MODEL, lag=2), 4, make)
    assert [state.memory["times"].tolist() for state in states] == [[0, 1], [0, 1, 2], [0, 1, 2], [1, 2, 4]]
    np.testing.assert_allclose(states[2].ensemble, states[1].ensemble @ M.T, atol=1e-12)


@pytest.mark.parametrize("multiple", [False, True])
def test_that_a_smoother_goes_on_from_a_file_to_the_same_bits(tmp_path, multiple):
    method, make = IEnKS(MODEL, lag=2, multiple=multiple), uncorrelated
    rng = np.random.default_rng(32)
    state = method.init(FIRST)
    for k in range(3):
        state, _ = method.step(state, make(k), rng)
    save_state(tmp_path / "state.nc", state, rng)
    restored, restored_rng = load_state(tmp_path / "state.nc")
    one, _ = method.step(state, make(3), rng)
    two, _ = method.step(restored, make(3), restored_rng)
    np.testing.assert_array_equal(one.ensemble, two.ensemble)


def test_that_a_random_model_makes_the_same_errors_in_every_run_from_the_same_time():
    flow = Flow(WithModelError(RING, AdditiveError(0.5)), np.random.default_rng(33))
    E = 8 + np.random.default_rng(34).normal(size=(4, 40))
    np.testing.assert_array_equal(flow(E, 0.0, 0.1), flow(E, 0.0, 0.1))
    assert (flow(E, 0.0, 0.1) != flow(E, 0.1, 0.2)).all()
    assert flow.steps == 4 * 2 * 4


@pytest.mark.parametrize("operator", [Identity(40), EveryNth(40, 3)], ids=["all", "third"])
def test_that_the_local_ienks_with_lag_zero_and_one_iteration_is_the_letkf(operator):
    rng = np.random.default_rng(35)
    E = 2 + rng.normal(size=(7, 40))
    obs = Observation(0.0, rng.normal(size=operator.size), operator, GaussianError(0.7, operator.size))
    ours, letkf = (
        method.step(method.init(E), obs, np.random.default_rng(1))[0].ensemble
        for method in (
            LocalIEnKS(RING, 4.0, lag=0, inflation=1.1, iterations=1, rotate=True),
            LETKF(RING, 4.0, inflation=1.1, rotate=True),
        )
    )
    np.testing.assert_allclose(ours, letkf, atol=1e-10)


def nearby(k):
    return Observation(float(k + 1), VALUES[k], Linear(H, locations=np.arange(3.0)), GaussianError([0.5, 1.0, 2.0], 3))


def test_that_with_a_huge_radius_the_local_ienks_is_the_ienks():
    local = run(LocalIEnKS(MODEL, 1e9, lag=2, inflation=1.1, rotate=True, bundle=0.1), 4, nearby)
    for one, two in zip(local, run(IEnKS(MODEL, 2, inflation=1.1, bundle=0.1), 4, nearby), strict=True):
        np.testing.assert_allclose(one.ensemble, two.ensemble, atol=1e-10)


def test_that_iterating_locally_on_a_linear_problem_changes_nothing():
    one, many = (
        run(LocalIEnKS(MODEL, 1.5, lag=2, iterations=n, tolerance=1e-12, periodic=False), 4, nearby) for n in (1, 6)
    )
    for few, more in zip(one, many, strict=True):
        np.testing.assert_allclose(few.ensemble, more.ensemble, atol=1e-10)


def test_that_the_tapers_drift_with_the_information():
    """A model that moves the ring by 3 points per unit of time, and one observation seen after two units."""
    model = UserModel(lambda E: np.roll(E, 3, axis=1), 40)
    E = np.random.default_rng(36).normal(size=(7, 40))
    obs = Observation(2.0, np.array([3.0]), Sites(40, [20]), GaussianError(0.5, 1))
    method = LocalIEnKS(model, radius=1.0, lag=1, drift=3.0)
    state, _ = method.step(method.init(E), obs, np.random.default_rng(0))
    moved = np.abs(state.ensemble - np.roll(E, 6, axis=1)).max(0) > 1e-9
    assert np.flatnonzero(moved).tolist() == [19, 20, 21]
    letkf = LETKF(model, radius=1.0)
    expected, _ = letkf.step(letkf.init(E), obs, np.random.default_rng(0))
    np.testing.assert_allclose(state.ensemble, expected.ensemble, atol=1e-10)


@pytest.mark.parametrize(
    ("method", "interval", "rmse"),
    [
        (IEnKS(RING, lag=6, inflation=1.02), 0.05, 0.20),
        (IEnKS(RING, lag=2, inflation=1.1), 0.2, 0.40),
        (IEnKS(RING, lag=2, certainty=1.0), 0.2, 0.40),
        (LocalIEnKS(RING, 8.0, lag=2, inflation=1.04), 0.05, 0.25),
    ],
    ids=["lag 6", "interval .2", "finite size, without inflation", "local"],
)
def test_that_it_tracks_lorenz96(method, interval, rmse):
    rng = np.random.default_rng(37)
    truth = RING.step(RING.random_states(1, rng), 400)
    state, errors = method.init(truth + rng.normal(size=(20, 40))), []
    for k in range(1, 201):
        truth = RING.step(truth, round(interval / RING.dt))
        obs = Observation(k * interval, truth[0] + rng.normal(size=40), Identity(40), GaussianError(1.0, 40))
        state, _ = method.step(state, obs, rng)
        errors.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
    assert np.mean(errors[50:]) < rmse


def test_that_an_iterative_filter_beats_the_etkf_on_lorenz63():
    model, scores = Lorenz63(), []
    for make in (lambda: IEnKS(model, lag=1, inflation=1.04), lambda: ETKF(model, inflation=1.04)):
        rng, method = np.random.default_rng(38), make()
        truth = model.step(model.random_states(1, rng), 2000)
        state, errors = method.init(truth + rng.normal(size=(10, 3))), []
        for k in range(1, 201):
            truth = model.step(truth, 25)
            obs = Observation(k * 0.25, truth[0] + 2**0.5 * rng.normal(size=3), Identity(3), GaussianError(2.0, 3))
            state, _ = method.step(state, obs, np.random.default_rng(k))
            errors.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
        scores.append(np.mean(errors[20:]))
    assert scores[0] < 0.8 * scores[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lag": -1}, "`lag` must be a whole number from 0 on, got -1"),
        ({"iterations": 0}, "`iterations` must be a whole number from 1 on, got 0"),
        ({"tolerance": 0.0}, "`tolerance` must be positive, got 0.0"),
        ({"bundle": -1e-3}, "`bundle` must be positive, got -0.001"),
        ({"inflation": 0.0}, "`inflation` must be positive, got 0.0"),
        ({"certainty": 0.0}, "`certainty` must be positive, got 0.0"),
        ({"certainty": 1.0, "lag": 2, "multiple": True}, "`certainty` goes with single assimilation only"),
    ],
)
def test_that_settings_without_a_meaning_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        IEnKS(MODEL, **settings)


def test_that_the_local_ienks_refuses_an_operator_without_locations():
    with pytest.raises(ValueError, match="LocalIEnKS needs to know where the observations are"):
        run(LocalIEnKS(MODEL, 2.0), 1, uncorrelated)
