import numpy as np
import pytest

from scoreda.assimilation.baselines import ExtendedKalman, FourDVar, ThreeDVar
from scoreda.assimilation.baselines.gaussian import draws, square_root, whitener
from scoreda.assimilation.baselines.variational import linearised, minimise
from scoreda.datasets import Climatology
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import (
    CorrelatedGaussianError,
    Elementwise,
    GaussianError,
    Identity,
    Linear,
    Observation,
    Sites,
    UserOperator,
)

NX = 5
rng = np.random.default_rng(20)
M = np.linalg.qr(rng.normal(size=(NX, NX)))[0] + 0.3 * rng.normal(size=(NX, NX))  # neither symmetric nor normal
H = rng.normal(size=(3, NX))
R = (lambda L: L @ L.T + np.eye(3))(rng.normal(size=(3, 3)))
CLIMATE = Climatology.of(rng.normal(size=(60, NX)) @ rng.normal(size=(NX, NX)) + 2)
FIRST = rng.normal(size=NX)
VALUES = rng.normal(size=(4, 3))
LINEAR_MODEL = UserModel(lambda E: E @ M.T, NX, tangent=lambda x, dX: (M @ x, dX @ M.T))
STILL = UserModel(lambda E: E, NX, tangent=lambda x, dX: (x, dX))


def observation(k, operator=None, error=None):
    return Observation(float(k + 1), VALUES[k], operator or Linear(H), error or CorrelatedGaussianError(R))


def joint_posterior(steps, cov, first=FIRST):
    """Mean and covariance of the state at the start given `steps` observations, by one dense regression."""
    G = np.concatenate([H @ np.linalg.matrix_power(M, k + 1) for k in range(steps)])
    noise = np.kron(np.eye(steps), R)
    K = cov @ G.T @ np.linalg.inv(G @ cov @ G.T + noise)
    return first + K @ (VALUES[:steps].ravel() - G @ first), cov - K @ G @ cov


def run(method, steps, members=9, make=observation):
    """Feed observations from an ensemble whose mean is FIRST; returns every state."""
    E = np.random.default_rng(0).normal(size=(members, NX))
    state, states = method.init(E - E.mean(0) + FIRST), []
    for k in range(steps):
        state, _ = method.step(state, make(k), np.random.default_rng(k))
        states.append(state)
    return states


def test_that_whitened_errors_have_the_identity_for_covariance():
    white = whitener(CorrelatedGaussianError(R))(np.linalg.cholesky(R).T)
    np.testing.assert_allclose(white.T @ white, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(whitener(GaussianError([4.0, 0.25], 2))(np.ones(2)), [0.5, 2.0])


def test_that_a_square_root_leaves_out_directions_without_variance():
    X, X_inv = square_root(np.diag([4.0, 0.0, 1.0]))
    assert X.shape == (2, 3)
    np.testing.assert_allclose(X.T @ X, np.diag([4.0, 0.0, 1.0]), atol=1e-14)
    np.testing.assert_allclose(np.array([0.3, -2.0]) @ X @ X_inv, [0.3, -2.0], atol=1e-14)


def test_that_draws_have_the_exact_mean_and_the_covariance():
    X = np.random.default_rng(1).normal(size=(4, 3))
    E = draws(np.arange(3.0), X, 20_000, np.random.default_rng(2))
    np.testing.assert_allclose(E.mean(0), np.arange(3.0), atol=1e-12)
    np.testing.assert_allclose(np.cov(E.T), X.T @ X, atol=5 * np.abs(X.T @ X).max() / np.sqrt(20_000) * 1.5)


def test_that_3dvar_is_the_kalman_update_of_the_forecast_of_the_mean():
    x, B = M @ FIRST, 0.3 * CLIMATE.cov
    K = B @ H.T @ np.linalg.inv(H @ B @ H.T + R)
    state = run(ThreeDVar(LINEAR_MODEL, CLIMATE, scale=0.3), 1)[0]
    np.testing.assert_allclose(state.ensemble.mean(0), x + K @ (VALUES[0] - H @ x), atol=1e-10)


def test_that_the_spread_of_3dvar_is_that_of_the_analysis():
    B = 0.3 * CLIMATE.cov
    P = B - B @ H.T @ np.linalg.solve(H @ B @ H.T + R, H @ B)
    E = run(ThreeDVar(LINEAR_MODEL, CLIMATE, scale=0.3), 1, members=20_000)[0].ensemble
    np.testing.assert_allclose(np.cov(E.T), P, atol=5 * np.abs(P).max() / np.sqrt(20_000) * 1.5)


@pytest.mark.parametrize("steps", [1, 4])
def test_that_4dvar_is_the_mean_of_the_kalman_smoother(steps):
    method = FourDVar(LINEAR_MODEL, CLIMATE, window=4, scale=0.7)
    state = run(method, steps)[-1]
    mean, _ = joint_posterior(steps, 0.7 * CLIMATE.cov)
    np.testing.assert_allclose(state.memory["trajectory"][0], mean, atol=1e-10)
    np.testing.assert_allclose(state.ensemble.mean(0), np.linalg.matrix_power(M, steps) @ mean, atol=1e-10)


def test_that_the_spread_of_4dvar_is_the_kalman_filters():
    state = run(FourDVar(LINEAR_MODEL, CLIMATE, window=2, scale=0.7), 2, members=20_000)[-1]
    P = M @ M @ joint_posterior(2, 0.7 * CLIMATE.cov)[1] @ M.T @ M.T
    np.testing.assert_allclose(np.cov(state.ensemble.T), P, atol=5 * np.abs(P).max() / np.sqrt(20_000) * 1.5)


def test_that_a_window_that_slides_starts_from_the_analysis_made_there():
    states = run(FourDVar(LINEAR_MODEL, CLIMATE, window=2, scale=0.7), 3)
    x, B = states[0].ensemble.mean(0), 0.7 * CLIMATE.cov
    G = np.concatenate([H @ M, H @ M @ M])
    K = B @ G.T @ np.linalg.inv(G @ B @ G.T + np.kron(np.eye(2), R))
    expected = x + K @ (VALUES[1:3].ravel() - G @ x)
    assert float(states[2].memory["start"]) == 1.0 and len(states[2].past) == 2
    np.testing.assert_allclose(states[2].memory["trajectory"][0], expected, atol=1e-10)


def test_that_4dvar_leaves_what_others_keep_in_the_memory():
    method, kept = FourDVar(LINEAR_MODEL, CLIMATE), np.arange(3.0)
    state = method.init(np.random.default_rng(0).normal(size=(9, NX)))
    state, _ = method.step(
        state.replace(memory=state.memory | {"of a wrapper": kept}), observation(0), np.random.default_rng(1)
    )
    np.testing.assert_array_equal(state.memory["of a wrapper"], kept)


def test_that_more_iterations_change_nothing_on_a_linear_problem():
    for method in (
        lambda n: FourDVar(LINEAR_MODEL, CLIMATE, window=3, iterations=n),
        lambda n: ThreeDVar(LINEAR_MODEL, CLIMATE, iterations=n),
        lambda n: ExtendedKalman(LINEAR_MODEL, iterations=n),
    ):
        one, many = (run(method(n), 3)[-1].ensemble for n in (1, 8))
        np.testing.assert_allclose(one, many, atol=1e-10)


def test_that_the_extended_kalman_filter_is_the_kalman_filter():
    E = np.random.default_rng(3).normal(size=(30, NX))
    P, x, method = np.cov(E.T), E.mean(0), ExtendedKalman(LINEAR_MODEL, inflation=1.1)
    state = method.init(E)
    for k in range(4):
        state, info = method.step(state, observation(k), np.random.default_rng(k))
        x, P = M @ x, 1.1**2 * M @ P @ M.T
        np.testing.assert_allclose(info.prior.mean(0), x, atol=1e-10)
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        x, P = x + K @ (VALUES[k] - H @ x), P - K @ H @ P
        np.testing.assert_allclose(state.ensemble.mean(0), x, atol=1e-10)
        np.testing.assert_allclose(state.memory["rows"].T @ state.memory["rows"], P, atol=1e-10)


def test_that_the_extended_kalman_filter_inflates_only_where_something_is_observed():
    E, method = np.random.default_rng(3).normal(size=(30, NX)), ExtendedKalman(LINEAR_MODEL, inflation=1.5)
    state, rows = method.init(E), np.cov(E.T)
    for k in range(3):
        nothing = Observation(float(k + 1), np.full(3, np.nan), Linear(H), CorrelatedGaussianError(R))
        state, _ = method.step(state, nothing, np.random.default_rng(k))
        rows = M @ rows @ M.T
        np.testing.assert_allclose(state.memory["rows"].T @ state.memory["rows"], rows, rtol=1e-10)


def test_that_of_a_small_ensemble_only_the_variances_are_trusted():
    E = np.random.default_rng(3).normal(size=(4, NX))
    rows = ExtendedKalman(LINEAR_MODEL).init(E).memory["rows"]
    np.testing.assert_allclose(rows.T @ rows, np.diag(E.var(0, ddof=1)), atol=1e-14)


def test_that_the_extended_kalman_filter_guards_its_step_and_linearises_about_the_analysis():
    """Seen through a square, 100 is far from 1: the whole step would go to 50.4, one of a quarter lowers the cost."""
    still = UserModel(lambda E: E, 1, tangent=lambda x, dX: (x, dX))
    obs = Observation(0.0, np.array([100.0]), Elementwise(Identity(1), "square"), GaussianError(0.01, 1))
    method = ExtendedKalman(still)
    memory = method.step(method.init(np.array([[0.0], [1.0], [2.0]])), obs, np.random.default_rng(0))[0].memory
    x = 1 + (100 - 1) * 2 / (4 + 0.01) / 4
    np.testing.assert_allclose(memory["mean"], [x], rtol=1e-12)
    np.testing.assert_allclose(memory["rows"].T @ memory["rows"], [[1 / (1 + (2 * x) ** 2 / 0.01)]], rtol=1e-10)


@pytest.mark.parametrize("x", [-1.5, 0.3, 4.0])
def test_that_a_nonlinear_minimum_is_found_where_the_gradient_vanishes(x):
    """One variable seen through a cube: J = w^2 / 2 + (y - x^3)^2 / 2 R has a gradient that is a polynomial."""
    obs = Observation(0.0, np.array([8.0]), Elementwise(Identity(1), "cube"), GaussianError(2.0, 1))
    found = minimise(np.zeros(1), lambda w: linearised(x + w, np.eye(1), obs), 100, tolerance=1e-9)
    here = x + found.w[0]
    assert abs(found.w[0] - 3 * here**2 * (8 - here**3) / 2) < 1e-6
    assert found.at.cost(found.w) <= linearised(np.array([x]), np.eye(1), obs).cost(np.zeros(1))


def test_that_a_step_that_overshoots_is_halved():
    """From near zero the cube is flat: the Gauss-Newton step leaps far beyond the minimum."""
    obs = Observation(0.0, np.array([8.0]), Elementwise(Identity(1), "cube"), GaussianError(1e-4, 1))
    seen = []

    def linearise(w):
        seen.append(linearised(0.3 + w, np.eye(1), obs).cost(w))
        return linearised(0.3 + w, np.eye(1), obs)

    found = minimise(np.zeros(1), linearise, 40, tolerance=1e-6)
    assert max(seen) > seen[0] > found.at.cost(found.w)
    np.testing.assert_allclose(0.3 + found.w, 2.0, atol=1e-3)


def track(method, cycles=150):
    """Root-mean-square error of the mean of analyses of Lorenz96, after 50 cycles."""
    model, rng = Lorenz96(40), np.random.default_rng(4)
    truth = model.step(model.random_states(1, rng), 400)
    state, errors = method.init(truth + rng.normal(size=(10, 40))), []
    for k in range(1, cycles + 1):
        truth = model.step(truth)
        obs = Observation(k * model.dt, truth[0] + rng.normal(size=40), Identity(40), GaussianError(1.0, 40))
        state, _ = method.step(state, obs, rng)
        errors.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
    return np.mean(errors[50:])


@pytest.fixture(scope="module")
def climate():
    model = Lorenz96(40)
    return Climatology.of(model.step(model.random_states(400, np.random.default_rng(5)), 400))


def test_that_each_tracks_lorenz96_as_well_as_it_should(climate):
    model = Lorenz96(40)
    assert track(ThreeDVar(model, climate, scale=0.02)) < 0.46
    assert track(ExtendedKalman(model, inflation=1.03)) < 0.25
    assert track(FourDVar(model, climate, window=10, scale=0.005)) < 0.28


def test_that_a_model_without_a_tangent_is_refused():
    model = UserModel(lambda E: E, NX)
    for make in (lambda: FourDVar(model, CLIMATE), lambda: ExtendedKalman(model)):
        with pytest.raises(ValueError, match="needs a model that offers 'tangent'"):
            make()


def test_that_an_operator_without_a_derivative_is_refused():
    operator = UserOperator(lambda E: np.sort(E)[..., :3], NX, 3)
    with pytest.raises(ValueError, match="no derivative.*tangent="):
        run(ThreeDVar(STILL, CLIMATE), 1, make=lambda k: observation(k, operator))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0.0}, "`scale` must be positive, got 0.0"),
        ({"window": 0}, "`window` must be a whole number from 1 on, got 0"),
        ({"iterations": 1.5}, "`iterations` must be a whole number from 1 on, got 1.5"),
    ],
)
def test_that_settings_without_a_meaning_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FourDVar(STILL, CLIMATE, **settings)


def test_that_a_time_without_observations_is_no_part_of_the_window():
    def make(k):
        return Observation(float(k + 1), VALUES[k, :1] * (np.nan if k == 1 else 1), Sites(NX, [2]), GaussianError(1, 1))

    states = run(FourDVar(LINEAR_MODEL, CLIMATE, window=5), 3, make=make)
    assert [obs.time for obs in states[-1].past] == [1.0, 3.0]
    assert states[-1].memory["trajectory"].shape == (3, NX)
