"""The score filters against the Kalman filter, and their parts against finite differences.

A network that has not been trained predicts zero, which makes its denoiser the exact one of white noise: the learned
prior of these tests is a Gaussian that is known.
"""

import numpy as np
import pytest
import torch

from scoreda.assimilation import State
from scoreda.assimilation.score import CoupledScoreFilter, Score4D
from scoreda.assimilation.score.gauss_newton import find_mode
from scoreda.assimilation.score.kernel_window import KernelWindow
from scoreda.assimilation.score.torch_window import TorchWindow
from scoreda.assimilation.score.window_prior import GaussianWindowPrior, LearnedWindowPrior
from scoreda.datasets import Climatology, Normaliser, climate_states, climatology
from scoreda.diffusion import EDM, ConvNet1d, KarrasDenoiser, Prior
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import (
    FUNCTIONS,
    Elementwise,
    EveryNth,
    GaussianError,
    Identity,
    Interpolated,
    Linear,
    MovingSites,
    NeighbourProducts,
    Observation,
    UserOperator,
    operator_at,
)

NX = 8


def white_prior(mean=1.0, std=2.0, trained=False):
    torch.manual_seed(0)
    denoiser = KarrasDenoiser(ConvNet1d(width=8, blocks=1, embedding=8), EDM())
    if trained:  # a network with an output, and therefore a prior that is not Gaussian
        torch.nn.init.normal_(denoiser.network.leave.weight, std=0.3)
    return Prior(denoiser, Normaliser(mean, std))


def gaussian_climate(seed=0, mean=None, cov=None):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(NX, NX))
    mean = rng.normal(size=NX) if mean is None else mean
    cov = A @ A.T / NX + 0.2 * np.eye(NX) if cov is None else cov
    return Climatology(mean, cov, rng.multivariate_normal(mean, cov, size=50))


def linear_observation(time=0.0, seed=1):
    """Four mixtures of the variables with unequal errors: nothing symmetric."""
    rng = np.random.default_rng(seed)
    H = rng.normal(size=(4, NX))
    operator = UserOperator(lambda E: E @ H.T, NX, 4, tangent=lambda x, dX: dX @ H.T, linear=True)
    return H, Observation(time, rng.normal(size=4), operator, GaussianError(np.array([0.2, 0.5, 1.0, 0.1]), 4))


def linear_model(seed=2):
    M = np.eye(NX) + 0.4 * np.random.default_rng(seed).normal(size=(NX, NX))
    model = UserModel(lambda E: E @ M.T, NX, dt=1.0, tangent=lambda x, dX: (M @ x, dX @ M.T))
    return M, model


def kalman(m, P, H, obs):
    K = P @ H.T @ np.linalg.inv(H @ P @ H.T + np.diag(obs.error.variance))
    return m + K @ (obs.values - H @ m), P - K @ H @ P


# The coupled score filter


def test_that_the_coupled_filter_is_the_square_root_kalman_filter_in_the_linear_gaussian_limit():
    E = np.random.default_rng(3).normal(size=(30, NX)) @ np.diag(np.arange(1, NX + 1)) + 2.0
    H, obs = linear_observation()
    method = CoupledScoreFilter(linear_model()[1], radius=None)
    state, _ = method.step(method.init(E), obs, np.random.default_rng(0))
    mean, cov = kalman(E.mean(0), np.cov(E.T), H, obs)
    np.testing.assert_allclose(state.ensemble.mean(0), mean, atol=1e-10)
    np.testing.assert_allclose(np.cov(state.ensemble.T), cov, atol=1e-9)


def test_that_the_learned_part_vanishes_where_the_climate_is_gaussian():
    prior, climate = white_prior(), gaussian_climate(mean=np.ones(NX), cov=4.0 * np.eye(NX))
    E, (_, obs) = climate.states[:20], linear_observation()
    model = linear_model()[1]
    plain, learned = (CoupledScoreFilter(model, None, 1.0, *pair) for pair in ((None, None), (prior, climate)))
    results = [f.step(f.init(E), obs, np.random.default_rng(0)) for f in (plain, learned)]
    assert results[1][1].diagnostics["network_evals"] > 0
    np.testing.assert_allclose(results[0][0].ensemble, results[1][0].ensemble, atol=1e-5)


def nonlinear_update(steps, R):
    prior, climate = white_prior(trained=True), gaussian_climate(mean=np.ones(NX), cov=4.0 * np.eye(NX))
    obs = Observation(0.0, np.linspace(-1, 3, NX), Identity(NX), GaussianError(R, NX))
    method = CoupledScoreFilter(linear_model()[1], None, 1.0, prior, climate, steps=steps)
    E = climate.states[:20]
    return E, method.step(method.init(E), obs, np.random.default_rng(0))[0].ensemble


def test_that_nothing_moves_where_nothing_was_learned_from_the_observations():
    E, coarse = nonlinear_update(8, R=1e10)
    _, fine = nonlinear_update(64, R=1e10)
    assert np.abs(fine - E).max() < 0.01
    assert np.abs(fine - E).max() < 0.05 * np.abs(coarse - E).max()


def test_that_the_quadrature_of_the_learned_part_converges():
    reference = nonlinear_update(512, R=1.0)[1]
    errors = [np.abs(nonlinear_update(steps, R=1.0)[1] - reference).max() for steps in (16, 64)]
    assert np.log2(errors[0] / errors[1]) / 2 == pytest.approx(2.0, abs=0.3)


def test_that_localisation_leaves_distant_variables_alone():
    model = Lorenz96(40)
    E = climate_states(model, 12, np.random.default_rng(4))
    obs = Observation(0.0, np.array([3.0]), EveryNth(40, 40), GaussianError(1.0, 1))
    method = CoupledScoreFilter(model, radius=3.0)
    state, _ = method.step(method.init(E), obs, np.random.default_rng(0))
    change = np.abs(state.ensemble.mean(0) - E.mean(0))
    assert change[0] > 0.01 and change[7:34].max() < 1e-10


def test_that_what_a_block_knows_of_one_forecast_is_not_kept_for_the_next():
    _, obs = linear_observation()
    method = CoupledScoreFilter(linear_model()[1], radius=None)
    E = gaussian_climate().states[:10]
    for time, values in ((0.0, obs.values), (1.0, np.full(4, np.nan))):
        state = State(0.0, E, method.of_whole(E) | {"inflation": np.array(1.2)})
        after, _ = method.step(state, Observation(time, values, obs.operator, obs.error), np.random.default_rng(0))
        assert after.memory == {"inflation": 1.2}


def test_that_an_observation_counts_where_it_is_also_if_its_position_is_given_a_turn_further():
    """On a ring of 8 variables 9.5 is 1.5; a taper of distances up to 9.5 would have no weight there."""
    E = gaussian_climate().states[:10]
    method = CoupledScoreFilter(linear_model()[1], radius=1.0)
    seen = [UserOperator(lambda E: E[..., 1:2] + E[..., 2:3], NX, 1, locations=[place]) for place in (1.5, 9.5)]
    obs = [Observation(0.0, np.array([3.0]), operator, GaussianError(0.1, 1)) for operator in seen]
    here, there = (method.step(method.init(E), y, np.random.default_rng(0))[0].ensemble for y in obs)
    assert np.abs(here - E).max() > 0.1
    np.testing.assert_allclose(there, here, atol=1e-12)


def test_that_an_operator_without_locations_cannot_be_localised():
    _, obs = linear_observation()
    method = CoupledScoreFilter(linear_model()[1], radius=2.0)
    with pytest.raises(ValueError, match="CoupledScoreFilter needs to know where.*`locations=`"):
        method.step(method.init(np.random.default_rng(0).normal(size=(5, NX))), obs, np.random.default_rng(0))


# Score-4D


@pytest.mark.parametrize("learned", [False, True])
def test_that_score4d_is_the_kalman_filter_on_a_linear_problem(learned):
    M, model = linear_model()
    sigma = 0.5
    # At noise sigma the learned prior is smoothed by it, which the exact answer must share.
    climate = gaussian_climate()
    m, P = (np.ones(NX), (4.0 + sigma**2) * np.eye(NX)) if learned else (climate.mean, climate.cov)
    method = Score4D(model, white_prior() if learned else climate, sigma=sigma, particles=2, tolerance=1e-9)
    state, rng = method.init(np.zeros((4000, NX))), np.random.default_rng(0)
    for k in range(1, 6):
        H, obs = linear_observation(time=float(k), seed=k)
        m, P = kalman(M @ m, M @ P @ M.T, H, obs)
        # Smoothing follows the spread of the previous step; hold it at its floor for the comparison.
        state = state.replace(memory={**state.memory, "spread": np.array(0.0)})
        state, _ = method.step(state, obs, rng)
    np.testing.assert_allclose(state.ensemble.mean(0), m, atol=1e-4 if learned else 1e-9)
    np.testing.assert_allclose(np.cov(state.ensemble.T), P, atol=6 * P.max() / np.sqrt(4000))


def arctan_window(cycles=6, seed=5):
    model, rng = Lorenz96(12), np.random.default_rng(seed)
    x = climate_states(model, 1, rng)
    start, past = x[0], []
    operator = Elementwise(EveryNth(12, 2), "arctan")
    for k in range(1, cycles + 1):
        x = model.step(x, 2)
        past.append(Observation(0.1 * k, operator(x[0]) + 0.1 * rng.normal(size=6), operator, GaussianError(0.01, 6)))
    return KernelWindow(model, 0.0, past), start


def test_that_the_descent_of_a_window_is_its_gradient():
    window, x = arctan_window()
    here, step = window.linearise(window.extend(x[None])), 1e-6
    J = [[window.misfit(window.extend((x + s * step * e)[None])) for s in (-1, 1)] for e in np.eye(12)]
    np.testing.assert_allclose(here.descent, -np.diff(J, axis=1)[:, 0] / (2 * step), rtol=1e-5, atol=1e-5)


def test_that_a_move_closes_the_gaps_to_second_order():
    window, x = arctan_window()
    nodes = window.extend(x[None])
    rng = np.random.default_rng(6)
    sizes = []
    for scale in (1e-2, 1e-3):
        torn = nodes + scale * rng.normal(size=nodes.shape)
        sizes.append(np.abs(window.gaps(torn + window.move(torn, scale * np.ones(12)))).max())
    assert sizes[1] < 0.03 * sizes[0]


def test_that_a_mode_is_a_model_trajectory_where_the_posterior_gradient_vanishes():
    window, x = arctan_window()
    prior = GaussianWindowPrior(climatology(window.model, np.random.default_rng(7), samples=500))
    mode = find_mode(window.extend(x[None] + 0.3), window, prior, 0.2, iterations=400, tolerance=1e-9)
    assert np.abs(window.gaps(mode.nodes)).max() < 1e-9
    gradient = prior.score(mode.nodes[0], 0.2) + window.linearise(mode.nodes).descent
    assert np.abs(gradient).max() < 1e-5


def test_that_the_precision_is_minus_the_derivative_of_the_score():
    prior = LearnedWindowPrior(white_prior(trained=True))
    x, sigma, step = np.linspace(-2, 4, NX), 1.5, 1e-2
    prior.scale = np.inf  # no floor
    slope = [(prior.score(x - step * e, sigma) - prior.score(x + step * e, sigma)) / (2 * step) for e in np.eye(NX)]
    slope = (np.array(slope) + np.array(slope).T) / 2
    assert np.linalg.eigvalsh(slope).min() > 0
    np.testing.assert_allclose(prior.precision(x, sigma), slope, atol=2e-3)


def analyses_of(method, model, operator, obs_std, cycles, jump=None, seed=8):
    """Return the analysis ensembles and the true states of a run."""
    rng = np.random.default_rng(seed)
    x, other = climate_states(model, 2, rng)[:, None]
    state, found = method.init(climate_states(model, 10, rng)), []
    for k in range(1, cycles + 1):
        x = other if k == jump else model.step(x)
        y = operator(x[0]) + obs_std * rng.normal(size=operator.size)
        state, _ = method.step(state, Observation(0.05 * k, y, operator, GaussianError(obs_std**2, operator.size)), rng)
        found.append((state.ensemble, x[0]))
    return map(np.stack, zip(*found, strict=True))


def errors_of(*arguments, **options):
    analyses, truth = analyses_of(*arguments, **options)
    return np.sqrt(((analyses.mean(1) - truth) ** 2).mean(-1))


def test_that_score4d_finds_the_truth_and_finds_it_again_after_a_jump():
    model = Lorenz96(16)
    climate = climatology(model, np.random.default_rng(9), samples=1000)
    errors = errors_of(Score4D(model, climate, window=20), model, Identity(16), 0.5, cycles=60, jump=30)
    assert errors[15:28].mean() < 0.3
    assert errors[29:31].max() > 1.0
    assert errors[50:].mean() < 0.3


def test_that_a_model_without_a_tangent_is_refused_with_the_methods_that_would_do():
    with pytest.raises(ValueError, match="'tangent'.*LETKF"):
        Score4D(UserModel(lambda E: E, NX), gaussian_climate())


def in_torch(window):
    return TorchWindow(window.model, window.start, window.past, torch.device("cpu"))


def scattered_window():
    """A window whose stretches differ in length, with an operator of every kind."""
    window, x = arctan_window()
    rng, past = np.random.default_rng(3), list(window.past)
    kinds = [
        Identity(12).restrict(np.array([1, 4, 5])),
        Linear(rng.normal(size=(3, 12))),
        Interpolated(12, [0.5, 3.2, 11.7]),
        NeighbourProducts(12, [0, 3, 9]),
        UserOperator(lambda E: E[..., :3] ** 3, 12, 3),
        operator_at(MovingSites(12, 3, seed=1, function="abs"), 0),
        *(Elementwise(EveryNth(12, 4), name) for name in sorted(FUNCTIONS)),
    ]
    for k, operator in enumerate(kinds):
        time = past[-1].time + 0.05 * (1 + k % 3)
        past.append(Observation(time, rng.normal(size=3), operator, GaussianError(0.5 + np.arange(3), 3)))
    return KernelWindow(window.model, 0.0, past), x


@pytest.mark.parametrize("make", [arctan_window, scattered_window])
def test_that_a_window_in_torch_is_that_in_numpy_up_to_rounding(make):
    window, x = make()
    tensors = in_torch(window)
    trajectory, rng = window.extend(x[None]), np.random.default_rng(1)
    np.testing.assert_allclose(tensors.extend(x[None]).numpy(), trajectory, rtol=1e-10)
    nodes, delta = trajectory + 0.1 * rng.normal(size=trajectory.shape), rng.normal(size=12)
    tensor = torch.from_numpy(nodes)
    for ours, theirs in zip(tensors.linearise(tensor), window.linearise(nodes), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())
    moved = window.move(nodes, delta)
    np.testing.assert_allclose(tensors.move(tensor, torch.from_numpy(delta)), moved, atol=1e-10 * np.abs(moved).max())
    several = np.stack([nodes, trajectory])
    np.testing.assert_allclose(tensors.gaps(torch.from_numpy(several)), window.gaps(several), atol=1e-10)
    np.testing.assert_allclose(tensors.misfit(torch.from_numpy(several)), window.misfit(several), rtol=1e-10)


@pytest.mark.parametrize("learned", [False, True])
def test_that_score4d_on_a_device_is_score4d(learned):
    model = Lorenz96(16)
    climate = climatology(model, np.random.default_rng(9), samples=1000)
    prior = white_prior(2.3, 3.6, trained=True) if learned else climate
    operator = Elementwise(Identity(16), "arctan")
    runs = [
        next(analyses_of(Score4D(model, prior, window=5, device=device), model, operator, 0.1, cycles=8))
        for device in (None, "cpu")
    ]
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-3 if learned else 1e-6)


def test_that_score4d_on_a_device_needs_no_tangent_but_a_model_in_torch():
    known, plain = Lorenz96(16), UserModel(lambda E: E, 16)
    model = UserModel(known.step, 16, 0.05, torch_function=known.torch_step)
    climate = climatology(known, np.random.default_rng(9), samples=1000)
    errors = errors_of(Score4D(model, climate, window=10, device="cpu"), known, Identity(16), 0.5, cycles=12)
    assert errors[-1] < 0.5
    with pytest.raises(ValueError, match="'torch'"):
        Score4D(plain, climate, device="cpu")


def test_that_a_window_between_model_steps_is_refused():
    model = Lorenz96(12)
    late = Observation(0.07, np.zeros(12), Identity(12), GaussianError(1.0, 12))
    with pytest.raises(ValueError, match="whole numbers of model steps"):
        KernelWindow(model, 0.0, [late])


def counted(model):
    """The model, and a list that every run of it adds its cost to, a tangent direction as one member."""
    spent = []
    step = lambda E: spent.append(len(E)) or model.step(E)
    tangent = lambda x, dX: spent.append(1 + len(dX)) or model.tangent(x, dX)
    return UserModel(step, model.size, model.dt, tangent=tangent), spent


def test_that_score4d_reports_every_model_step_it_took():
    """With particles that are dropped, two noise levels at the start, and a search anew after a jump."""
    model, spent = counted(Lorenz96(12))
    prior = white_prior(2.3, 3.6, trained=True)
    method, rng = Score4D(model, prior, window=5, particles=3, reacquire=3), np.random.default_rng(10)
    searches, search = [], method._acquire
    method._acquire = lambda *arguments: searches.append(state.time) or search(*arguments)
    x, other = climate_states(Lorenz96(12), 2, rng)[:, None]
    state = method.init(climate_states(Lorenz96(12), 4, rng))
    for k in range(1, 9):
        x = other if k == 6 else Lorenz96(12).step(x, 2)
        spent.clear()
        obs = Observation(0.1 * k, x[0] + 0.3 * rng.normal(size=12), Identity(12), GaussianError(0.09, 12))
        state, info = method.step(state, obs, rng)
        assert info.diagnostics["model_steps"] == sum(spent)
    assert searches


def test_that_a_window_counts_the_model_steps_of_what_it_is_asked_for():
    window, x = scattered_window()
    tensors = in_torch(window)
    nodes = window.extend(x[None])
    tensor = torch.stack(list(tensors.extend(x[None])))
    assert window.spent == tensors.spent == sum(window.steps)
    for kind, X in ((window, nodes), (tensors, tensor)):
        kind.gaps(X[None])
        assert kind.spent == 2 * sum(window.steps)
        kind.linearise(X)
        assert kind.spent == (2 + 12 + 2) * sum(window.steps)
        kind.move(X, X[0])
    assert window.spent == (2 + 12 + 2 + 2) * sum(window.steps)
    assert tensors.spent == (2 + 12 + 2) * sum(window.steps)  # it knows the derivatives of the last nodes


@pytest.mark.parametrize(
    "setting", [{"window": 2.5}, {"reacquire": 2.5}, {"particles": 0}, {"sigma": 0.0}, {"tolerance": float("inf")}]
)
def test_that_score4d_refuses_settings_without_a_meaning(setting):
    with pytest.raises(ValueError, match=f"`{next(iter(setting))}` must be"):
        Score4D(linear_model()[1], gaussian_climate(), **setting)


@pytest.mark.parametrize(
    "setting",
    [{"radius": np.inf}, {"inflation": np.inf}, {"learned": -0.1}, {"learned": np.nan}, {"steps": 0}, {"steps": 1.5}],
)
def test_that_the_coupled_filter_refuses_settings_without_a_meaning(setting):
    with pytest.raises(ValueError, match=f"`{next(iter(setting))}` must"):
        CoupledScoreFilter(linear_model()[1], **{"radius": None} | setting)
