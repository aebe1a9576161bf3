"""What every assimilation method keeps to. A new method joins with one line in `METHODS`."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import xarray as xr

from scoreda.assimilation import assimilate, resume
from scoreda.assimilation.baselines import (
    ETKF,
    LETKF,
    RTPP,
    RTPS,
    Adaptive,
    BootstrapPF,
    Climatological,
    DEnKF,
    EnKFN,
    EnKS,
    ExtendedKalman,
    FourDVar,
    FreeRun,
    IEnKS,
    Inflated,
    LikelihoodAware,
    LocalIEnKS,
    LocalPF,
    OptimalInterpolation,
    OptimalPF,
    Persistence,
    RankHistogramFilter,
    SerialEnSRF,
    StochasticEnKF,
    ThreeDVar,
)
from scoreda.assimilation.protocol import Traits
from scoreda.assimilation.score import CoupledScoreFilter, Score4D
from scoreda.datasets import climatology
from scoreda.models import AdditiveError, Lorenz96, WithModelError
from scoreda.observations import EveryNth, GaussianError, Observation, UserOperator

MODEL = Lorenz96(40)
NOISY = WithModelError(MODEL, AdditiveError(0.1))
CLIMATE = climatology(MODEL, np.random.default_rng(0), samples=400)

METHODS = {
    "free run": lambda: FreeRun(MODEL),
    "climatology": lambda: Climatological(MODEL, CLIMATE),
    "OI": lambda: OptimalInterpolation(MODEL, CLIMATE),
    "stochastic EnKF": lambda: StochasticEnKF(MODEL, inflation=1.05),
    "ETKF": lambda: ETKF(MODEL, inflation=1.02),
    "LETKF": lambda: LETKF(MODEL, radius=8.0, inflation=1.02),
    "LETKF rotated": lambda: LETKF(MODEL, radius=8.0, rotate=True),
    "persistence": lambda: Persistence(MODEL, CLIMATE),
    "stochastic EnKF localised": lambda: StochasticEnKF(MODEL, radius=8.0),
    "DEnKF": lambda: DEnKF(MODEL, inflation=1.01),
    "DEnKF localised": lambda: DEnKF(MODEL, radius=8.0),
    "serial EnSRF": lambda: SerialEnSRF(MODEL, inflation=1.02, rotate=True),
    "serial EnSRF localised": lambda: SerialEnSRF(MODEL, radius=8.0),
    "rank histogram": lambda: RankHistogramFilter(MODEL, radius=8.0),
    "bootstrap PF": lambda: BootstrapPF(MODEL),
    "bootstrap PF of a random model": lambda: BootstrapPF(NOISY, bandwidth=0.0),
    "bootstrap PF with weights": lambda: BootstrapPF(MODEL, threshold=0.1, duplicates_only=True),
    "optimal PF": lambda: OptimalPF(NOISY),
    "optimal PF with weights": lambda: OptimalPF(NOISY, threshold=0.0),
    "local PF": lambda: LocalPF(MODEL, radius=4.0),
    "adaptive inflation": lambda: Inflated(ETKF(MODEL), Adaptive()),
    "relaxation to spread and perturbations": lambda: Inflated(Inflated(LETKF(MODEL, 8.0), RTPS(0.3)), RTPP(0.3)),
    "3D-Var": lambda: ThreeDVar(MODEL, CLIMATE),
    "4D-Var": lambda: FourDVar(MODEL, CLIMATE, window=2),
    "extended Kalman": lambda: ExtendedKalman(MODEL, inflation=1.02),
    "EnKF-N": lambda: EnKFN(MODEL),
    "EnKS": lambda: EnKS(MODEL, lag=1, inflation=1.02),
    "iEnKS": lambda: IEnKS(MODEL, lag=2, inflation=1.02),
    "iEnKS of a random model": lambda: IEnKS(NOISY, lag=2, bundle=0.01),
    "iEnKS, multiple assimilation": lambda: IEnKS(MODEL, lag=2, multiple=True),
    "local iEnKS": lambda: LocalIEnKS(MODEL, radius=8.0, lag=2, drift=2.0),
    "ETKF with sites": lambda: LikelihoodAware(ETKF(MODEL)),
    "iEnKS with sites": lambda: LikelihoodAware(IEnKS(MODEL, lag=2), sweeps=2),
    "coupled score filter": lambda: CoupledScoreFilter(MODEL, radius=8.0, inflation=1.02),
    "Score-4D": lambda: Score4D(MODEL, CLIMATE, window=4),
}
MISSING = np.array([0, 3, 19])
OPERATORS = {
    "sites": EveryNth(40, 2),
    "the user's": UserOperator(lambda E: E[..., ::2] + 0.01 * E[..., ::2] ** 2, 40, 20, locations=np.arange(0, 40, 2)),
}


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]()


@pytest.fixture
def ensemble():
    """Twelve members about a state of the climate."""
    return CLIMATE.states[0] + np.random.default_rng(1).normal(size=(12, 40))


def observe(time=0.1, missing=()):
    """Every second variable of another climate state, with unequal error variances."""
    operator = EveryNth(40, 2)
    values = operator(CLIMATE.states[0]) + np.random.default_rng(2).normal(size=20)
    values[np.asarray(missing, dtype=int)] = np.nan
    return Observation(time, values, operator, GaussianError(np.linspace(0.5, 2.0, 20), 20))


def step(method, ensemble, obs, seed=3):
    return method.step(method.init(ensemble), obs, np.random.default_rng(seed))


def test_that_a_forecast_made_outside_leaves_the_step_as_it_is_where_a_method_says_so(method, ensemble):
    if not Traits.of(method).takes_forecast or "random" in getattr(method, "model", MODEL).offers:
        pytest.skip("it forecasts by itself, or with errors of its own")
    whole, _ = step(method, ensemble, observe())
    state, rng = method.init(ensemble), np.random.default_rng(3)
    outside, _ = method.step(state.replace(time=0.1, ensemble=MODEL.step(ensemble, 2)), observe(), rng)
    np.testing.assert_array_equal(outside.ensemble, whole.ensemble)


def test_that_the_forecast_it_is_given_is_what_a_method_analyses_where_it_says_so(method, ensemble):
    traits = Traits.of(method)
    if not (traits.takes_forecast and traits.analyses_forecast):
        pytest.skip("it analyses something else")
    other, rng = 1.5 * ensemble + 1, np.random.default_rng(3)
    given, _ = method.step(method.init(ensemble).replace(time=0.1, ensemble=other), observe(), rng)
    started, _ = method.step(method.init(other, 0.1), observe(), np.random.default_rng(3))
    np.testing.assert_array_equal(given.ensemble, started.ensemble)


def test_that_analysis_and_prior_are_finite_ensembles_of_the_same_shape(method, ensemble):
    state, info = step(method, ensemble, observe())
    for E in (state.ensemble, info.prior):
        assert E.shape == (12, 40) and E.dtype == np.float64
        assert np.isfinite(E).all()


def test_that_the_time_advances_to_each_observation(method, ensemble):
    rng, state = np.random.default_rng(3), method.init(ensemble, time=2.0)
    assert state.time == 2.0
    for time in (2.05, 2.05, 2.3):
        state, _ = method.step(state, observe(time), rng)
        assert state.time == time


def test_that_diagnostics_hold_the_innovation_chi_square_and_the_cost(method, ensemble):
    _, info = step(method, ensemble, observe())
    assert info.diagnostics["chi2"] > 0
    assert info.diagnostics["model_steps"] >= 0
    assert all(isinstance(value, float) for value in info.diagnostics.values())


def test_that_inputs_are_not_changed(method, ensemble):
    obs, rng = observe(missing=MISSING), np.random.default_rng(3)
    first = method.init(ensemble)
    second, _ = method.step(first, obs, rng)
    kept = [np.array(a) for a in (ensemble, first.ensemble, second.ensemble, obs.values)]
    method.step(second, observe(0.2), rng)
    for before, after in zip(kept, (ensemble, first.ensemble, second.ensemble, obs.values), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(first.ensemble, ensemble)


def test_that_memory_that_is_not_the_methods_own_is_kept(method, ensemble):
    """A wrapper's, such as the factor of an adaptive inflation; with and without values observed."""
    state, rng = method.init(ensemble), np.random.default_rng(3)
    state = state.replace(memory=state.memory | {"foreign": np.array(7.0)})
    for obs in (observe(0.1), observe(0.2, missing=np.arange(20)), observe(0.3)):
        state, _ = method.step(state, obs, rng)
        assert state.memory["foreign"] == 7.0


def test_that_the_generator_decides_everything(method, ensemble):
    (one, _), (two, _) = step(method, ensemble, observe()), step(method, ensemble, observe())
    np.testing.assert_array_equal(one.ensemble, two.ensemble)


def test_that_the_global_generators_are_left_alone(method, ensemble):
    torch = pytest.importorskip("torch")
    before, torch_before = np.random.get_state(), torch.get_rng_state()
    step(method, ensemble, observe())
    after = np.random.get_state()
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert torch.equal(torch_before, torch.get_rng_state())


def test_that_missing_values_are_the_same_as_an_operator_without_them(method, ensemble):
    full, keep = observe(), np.setdiff1d(np.arange(20), MISSING)
    restricted = Observation(full.time, full.values[keep], full.operator.restrict(keep), full.error.restrict(keep))
    gaps, info_gaps = step(method, ensemble, observe(missing=MISSING))
    by_hand, info = step(method, ensemble, restricted)
    np.testing.assert_array_equal(gaps.ensemble, by_hand.ensemble)
    assert info_gaps.diagnostics["chi2"] == info.diagnostics["chi2"]


def test_that_an_empty_observation_leaves_the_forecast(method, ensemble):
    state, info = step(method, ensemble, observe(missing=np.arange(20)))
    np.testing.assert_array_equal(state.ensemble, info.prior)
    assert state.time == 0.1


def test_that_a_forecast_that_blows_up_is_passed_on_and_not_raised(method, ensemble):
    with np.errstate(all="ignore"):
        state, _ = step(method, 1e160 * ensemble, observe())
    assert state.time == 0.1


@pytest.mark.parametrize("time", [-0.1, 0.07], ids=["before the state", "between model steps"])
def test_that_an_observation_at_an_impossible_time_is_refused(method, ensemble, time):
    with pytest.raises(ValueError, match="whole numbers of model steps"):
        step(method, ensemble, observe(time))


def test_that_one_member_is_refused(method, ensemble):
    with pytest.raises(ValueError, match="`members` must be at least 2, got 1"):
        method.init(ensemble[:1])


def test_that_an_ensemble_of_the_wrong_size_or_not_finite_is_refused(method, ensemble):
    with pytest.raises(ValueError, match=r"must have shape \(members, 40\)"):
        method.init(ensemble[:, :39])
    with pytest.raises(ValueError, match="NaN or Inf"):
        method.init(np.where(ensemble > 0, np.nan, ensemble))


def file_with_gaps(operator):
    """Five observation times from the state that the ensemble is about; the third one has no value at all."""
    truth, obs = MODEL.step(CLIMATE.states[:1], 2), []
    for seed in range(5):
        obs.append(operator(truth)[0] + np.random.default_rng(seed).normal(size=20))
        truth = MODEL.step(truth, 2)
    obs = np.stack(obs)
    obs[0, 2] = obs[1, MISSING] = obs[2] = obs[3, 5] = np.nan
    return xr.Dataset(coords={"time": 0.1 * np.arange(1, 6), "obs": (("time", "obs"), obs)})


def given(operator):
    return dict(operator=OPERATORS[operator], error=GaussianError(np.linspace(0.5, 2.0, 20), 20))


def finished(path, method, operator):
    """Finish a run from its checkpoint; called in another process too."""
    return resume(path, file_with_gaps(OPERATORS[operator]), METHODS[method](), **given(operator))


def stopped_and_whole(path, name, operator, ensemble):
    """Leave a checkpoint after two of five times, and return the run that is never stopped."""
    twin, rng = file_with_gaps(OPERATORS[operator]), np.random.default_rng
    assimilate(twin, METHODS[name](), ensemble, rng(3), cycles=2, checkpoint=path, **given(operator))
    return assimilate(twin, METHODS[name](), ensemble, rng(3), **given(operator))


# Only these refuse operators that are not linear.
LINEAR = ("optimal PF", "optimal PF with weights")
RESTARTS = [(name, operator) for name in METHODS for operator in OPERATORS if operator == "sites" or name not in LINEAR]


@pytest.mark.parametrize(("name", "operator"), RESTARTS)
def test_that_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, name, operator, ensemble):
    whole = stopped_and_whole(tmp_path / "stopped.nc", name, operator, ensemble)
    assert whole.attrs["diverged"] == -1
    xr.testing.assert_equal(finished(tmp_path / "stopped.nc", name, operator), whole)


def test_that_the_same_bits_come_out_in_another_process(tmp_path, ensemble):
    names = ("stochastic EnKF", "LETKF", "coupled score filter", "Score-4D")
    whole = [stopped_and_whole(tmp_path / f"{name}.nc", name, "the user's", ensemble) for name in names]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        again = [other.submit(finished, tmp_path / f"{name}.nc", name, "the user's") for name in names]
        for run, expected in zip(again, whole, strict=True):
            xr.testing.assert_equal(run.result(), expected)
