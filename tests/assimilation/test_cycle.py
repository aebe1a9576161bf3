"""The cycle: what it records, how it stops, restarts and fails; with a method simple enough to predict exactly."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import xarray as xr

from scoreda.assimilation import (
    ETKF,
    LETKF,
    RTPS,
    FourDVar,
    FreeRun,
    Inflated,
    Info,
    State,
    StochasticEnKF,
    ThreeDVar,
    assimilate,
    initial_ensemble,
    resume,
)
from scoreda.assimilation.protocol import check_ensemble, forecast_to
from scoreda.datasets import Climatology, observations, open_dataset, simulate, write_dataset
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import EveryNth, GaussianError, Network, UserOperator

MODEL = Lorenz96(8)


class Insertion:
    """Put perturbed observations in the place of the observed variables.

    It draws from the generator and from its children, counts its steps in the memory, and adds the sum of the previous
    observation to its diagnostics, so that a restart which forgets any of these shows.
    """

    name = "insertion"

    def init(self, ensemble, time=0.0):
        return State(time, check_ensemble(ensemble, 8), {"steps": np.zeros((), dtype=np.int16)})

    def step(self, state, obs, rng):
        E, _ = forecast_to(MODEL, state.ensemble, state.time, obs.time, rng)
        present, prior = obs.present(), E.copy()
        if not obs.is_empty:
            errors = [present.error.sample(child) for child in rng.spawn(len(E))]
            E[:, present.operator.sites] = present.values + errors + 1e-3 * rng.normal(size=(len(E), 1))
        steps = state.memory["steps"] + np.int16(1)
        earlier = float(np.nansum(state.past[0].values)) if state.past else np.nan
        return State(obs.time, E, {"steps": steps}, (present,)), Info(prior, {"steps": steps, "earlier": earlier})


class Failing:
    """A method that fails at the fourth step, as `failure` says."""

    name = "failing"

    def __init__(self, failure):
        self.failure = failure

    def init(self, ensemble, time=0.0):
        return State(time, ensemble)

    def step(self, state, obs, rng):
        E = state.ensemble + 1
        return State(obs.time, self.failure(E) if obs.time > 0.35 else E), Info(E)


def singular(E):
    raise np.linalg.LinAlgError


@pytest.fixture(scope="module")
def twin():
    return simulate(MODEL, Network(EveryNth(8, 2), GaussianError(0.5, 4), 0.1), 12, seed=1, missing=0.4)


@pytest.fixture(scope="module")
def ensemble(twin):
    return initial_ensemble(twin, 5, std=0.5, rng=np.random.default_rng(2))


def run_insertion(twin, ensemble, **settings):
    return assimilate(twin, Insertion(), ensemble, np.random.default_rng(3), **settings)


def resume_in_this_process(checkpoint, twin):
    """Finish a run from its files alone; called in another process."""
    return resume(checkpoint, open_dataset(twin), Insertion()).load()


def test_that_the_run_equals_stepping_by_hand(twin, ensemble):
    run, method, rng = run_insertion(twin, ensemble), Insertion(), np.random.default_rng(3)
    state = method.init(ensemble)
    for k, obs in enumerate(observations(twin)):
        state, info = method.step(state, obs, rng)
        np.testing.assert_array_equal(run["prior"][k], info.prior.astype(np.float32))
        np.testing.assert_array_equal(run["analysis"][k], state.ensemble.astype(np.float32))
    np.testing.assert_array_equal(run["steps"], np.arange(1, 13))
    assert run["prior"].dtype == run["analysis"].dtype == np.float32
    assert run["earlier"].dtype == np.float64


def test_that_truth_and_observations_stand_beside_the_analysis(twin, ensemble):
    run = run_insertion(twin, ensemble, cycles=7)
    assert dict(run.sizes) == {"time": 7, "member": 5, "space": 8, "obs": 4}
    for name in ("truth", "obs", "obs_location", "time"):
        xr.testing.assert_identical(run[name].variable, twin.isel(time=slice(7))[name].variable)
    assert run["member"].attrs["standard_name"] == "realization"
    assert (run.attrs["method"], run.attrs["diverged"], run.attrs["seed"]) == ("insertion", -1, 1)


@pytest.mark.filterwarnings("error")
def test_that_a_run_survives_a_round_trip(twin, ensemble, tmp_path):
    run = run_insertion(twin, ensemble)
    write_dataset(run, tmp_path / "analysis.nc")
    with open_dataset(tmp_path / "analysis.nc") as again:
        xr.testing.assert_identical(again, run)


def test_that_the_same_seed_gives_the_same_bits_and_another_one_others(twin, ensemble):
    first, second = run_insertion(twin, ensemble), run_insertion(twin, ensemble)
    xr.testing.assert_equal(first, second)
    other = assimilate(twin, Insertion(), ensemble, np.random.default_rng(4))
    assert not (other["analysis"] == first["analysis"]).all()


def test_that_a_run_stopped_and_finished_in_another_process_has_the_same_bits(twin, ensemble, tmp_path):
    write_dataset(twin, tmp_path / "twin.nc")
    run_insertion(twin, ensemble, cycles=5, checkpoint=tmp_path / "stopped.nc")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        finished = other.submit(resume_in_this_process, tmp_path / "stopped.nc", tmp_path / "twin.nc").result()
    xr.testing.assert_equal(finished, run_insertion(twin, ensemble))


def test_that_a_run_can_be_stopped_again_and_again(twin, ensemble, tmp_path):
    path = tmp_path / "stopped.nc"
    run_insertion(twin, ensemble, cycles=1, checkpoint=path)
    for cycles in (4, 4, 9):
        resume(path, twin, Insertion(), cycles=cycles, checkpoint=path)
    xr.testing.assert_equal(resume(path, twin, Insertion()), run_insertion(twin, ensemble))
    assert [file.name for file in tmp_path.iterdir()] == ["stopped.nc"]


def test_that_a_checkpoint_of_something_else_is_refused(twin, ensemble, tmp_path):
    path = tmp_path / "stopped.nc"
    run_insertion(twin, ensemble, cycles=3, checkpoint=path)
    with pytest.raises(ScoredaError, match="is a run of insertion, not of free_run"):
        resume(path, twin, FreeRun(MODEL))
    with pytest.raises(ScoredaError, match="over other observations"):
        resume(path, twin.assign_coords(obs=twin["obs"] + 1), Insertion())
    with pytest.raises(ValueError, match="`cycles` must be 3 to 12"):
        resume(path, twin, Insertion(), cycles=2)
    write_dataset(twin, tmp_path / "twin.nc")
    with pytest.raises(ScoredaError, match="no variable 'state_ensemble'"):
        resume(tmp_path / "twin.nc", twin, Insertion())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("failure", [singular, lambda E: E * np.nan, lambda E: E * np.inf])
def test_that_divergence_is_recorded_and_not_raised(twin, ensemble, failure):
    run = assimilate(twin, Failing(failure), ensemble, np.random.default_rng(0))
    assert run.attrs["diverged"] == 3
    np.testing.assert_allclose(run["analysis"][2], ensemble + 3, rtol=1e-6)
    assert run[["prior", "analysis"]].isel(time=slice(3, None)).isnull().all().to_array().all()


def test_that_divergence_at_once_still_gives_a_whole_dataset(twin, ensemble):
    run = assimilate(twin.isel(time=slice(5, None)), Failing(singular), ensemble, np.random.default_rng(0))
    assert run.attrs["diverged"] == 0
    assert run["analysis"].shape == (7, 5, 8) and run["analysis"].isnull().all()


def test_that_a_diverged_run_stays_so_when_resumed(twin, ensemble, tmp_path):
    path = tmp_path / "stopped.nc"
    assimilate(twin, Failing(singular), ensemble, np.random.default_rng(0), cycles=6, checkpoint=path)
    whole = assimilate(twin, Failing(singular), ensemble, np.random.default_rng(0))
    again = resume(path, twin, Failing(lambda E: E))
    xr.testing.assert_equal(again, whole)
    assert again.attrs["diverged"] == 3


def test_that_a_mistake_in_a_method_is_raised(twin, ensemble):
    def mistake(E):
        raise TypeError

    with pytest.raises(TypeError):
        assimilate(twin, Failing(mistake), ensemble, np.random.default_rng(0))


def test_that_a_free_run_from_the_truth_follows_it(twin):
    E = np.repeat(twin["truth_initial"].values[None], 2, axis=0)
    run = assimilate(twin, FreeRun(MODEL), E, np.random.default_rng(0))
    np.testing.assert_array_equal(run["analysis"], np.repeat(twin["truth"].values[:, None], 2, axis=1).astype("f4"))


def test_that_a_file_without_a_truth_can_be_assimilated(twin, ensemble):
    without = twin.drop_vars(["truth", "truth_initial"])
    np.testing.assert_array_equal(
        run_insertion(without, ensemble)["analysis"], run_insertion(twin, ensemble)["analysis"]
    )


def test_that_an_operator_of_the_user_is_used(ensemble):
    operator = UserOperator(lambda E: E[..., ::2], 8, 4)
    user = simulate(MODEL, Network(operator, GaussianError(0.5, 4), 0.1), 12, seed=1)
    sites = simulate(MODEL, Network(EveryNth(8, 2), GaussianError(0.5, 4), 0.1), 12, seed=1)
    run, same = (
        assimilate(twin, ETKF(MODEL), ensemble, np.random.default_rng(0), operator=given)["analysis"]
        for twin, given in ((user, operator), (sites, None))
    )
    np.testing.assert_array_equal(run, same)


def test_that_a_warm_start_is_the_truth_plus_noise_of_the_std(twin):
    E = initial_ensemble(twin, 5000, kind="truth", std=0.5, rng=np.random.default_rng(0))
    np.testing.assert_allclose(E.mean(axis=0), twin["truth_initial"], atol=0.03)
    np.testing.assert_allclose(np.cov(E.T), 0.25 * np.eye(8), atol=0.02)


def test_that_a_cold_start_has_the_climate_of_the_model(twin):
    E = initial_ensemble(twin, 2000, kind="climatology", rng=np.random.default_rng(0))
    reference = MODEL.step(MODEL.random_states(1000, np.random.default_rng(9)), 4000)
    assert E.mean() == pytest.approx(reference.mean(), abs=0.1)
    assert E.std() == pytest.approx(reference.std(), rel=0.03)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"members": 1}, "`members` must be at least 2, got 1"),
        ({"members": 0}, "`members` must be at least 2, got 0"),
        ({"std": 0.0}, "`std` must be positive"),
        ({"kind": "truht"}, "did you mean 'truth'"),
    ],
)
def test_that_a_senseless_ensemble_is_refused(twin, request_, message):
    with pytest.raises(ValueError, match=message):
        initial_ensemble(twin, **{"members": 5, "rng": np.random.default_rng(0)} | request_)


def test_that_a_start_the_file_cannot_give_is_refused(twin):
    rng = np.random.default_rng(0)
    with pytest.raises(ScoredaError, match="Use kind='climatology'"):
        initial_ensemble(twin.drop_vars("truth_initial"), 5, rng=rng)
    with pytest.raises(ValueError, match="Pass random_states="):
        initial_ensemble(twin, 5, kind="climatology", rng=rng, model=UserModel(lambda E: E, 8))


def test_that_a_senseless_run_is_refused(twin, ensemble):
    with pytest.raises(ValueError, match="`cycles` must be 1 to 12, the number of observation times, got 13"):
        run_insertion(twin, ensemble, cycles=13)
    with pytest.raises(ValueError, match="`rng` must be a numpy Generator, got int"):
        assimilate(twin, Insertion(), ensemble, 3)
    with pytest.raises(ValueError, match="`members` must be at least 2"):
        run_insertion(twin, ensemble[:1])
    bare = twin.drop_attrs(deep=False).isel(time=[0])
    sites, error = EveryNth(8, 2), GaussianError(0.5, 4)
    with pytest.raises(ScoredaError, match="no attribute 'interval'"):
        run_insertion(bare, ensemble, operator=sites, error=error)
    with pytest.raises(ScoredaError, match=r"'obs_variance'. Pass error=GaussianError\(variance, size\)"):
        run_insertion(bare, ensemble, operator=sites)
    with pytest.raises(ScoredaError, match="'operator'. Pass operator="):
        run_insertion(bare, ensemble, error=error)


def test_that_a_file_of_the_user_needs_no_attributes(twin, ensemble):
    given = dict(operator=EveryNth(8, 2), error=GaussianError(0.5, 4))
    bare = xr.Dataset(coords={"time": twin["time"].values, "obs": (("time", "obs"), twin["obs"].values)})
    for name in ("prior", "analysis"):
        run = run_insertion(bare, ensemble, **given)
        np.testing.assert_array_equal(run[name], run_insertion(twin, ensemble)[name])


def test_that_an_operator_on_states_of_another_size_is_refused(twin, ensemble, tmp_path):
    other = UserOperator(lambda E: E[..., :4], 10, 4)
    with pytest.raises(ScoredaError, match="takes 10 variables, the states have 8. Pass an operator of state_size=8"):
        run_insertion(twin, ensemble, operator=other)
    run_insertion(twin, ensemble, cycles=2, checkpoint=tmp_path / "stopped.nc")
    with pytest.raises(ScoredaError, match="takes 10 variables"):
        resume(tmp_path / "stopped.nc", twin, Insertion(), operator=other)


@pytest.mark.parametrize(
    ("other", "differing"),
    [
        (Inflated(ETKF(MODEL, inflation=1.1), RTPS(0.2)), "method.inflation = 1.02, not 1.1"),
        (Inflated(ETKF(MODEL, inflation=1.02), RTPS(0.3)), "scheme.alpha = 0.2, not 0.3"),
        (Inflated(ETKF(Lorenz96(8, forcing=9.0), inflation=1.02), RTPS(0.2)), "'forcing': 8.0.*'forcing': 9.0"),
    ],
)
def test_that_a_run_is_not_resumed_with_other_settings(twin, ensemble, tmp_path, other, differing):
    path, method = tmp_path / "stopped.nc", Inflated(ETKF(MODEL, inflation=1.02), RTPS(0.2))
    assimilate(twin, method, ensemble, np.random.default_rng(3), cycles=2, checkpoint=path)
    with pytest.raises(ScoredaError, match=f"was made with .*{differing}.*Pass the method with the settings"):
        resume(path, twin, other)
    assert resume(path, twin, method).sizes["time"] == 12


CLIMATE = Climatology.of(np.random.default_rng(4).normal(size=(30, 8)))


@pytest.mark.parametrize(
    ("made", "other", "differing"),
    [
        (LETKF(MODEL, 1.0), LETKF(MODEL, 2.0), r"localisation\.radius = 1\.0, not 2\.0"),
        (LETKF(MODEL, 1.0), LETKF(MODEL, 1.0, periodic=False), r"localisation\.periodic = True, not False"),
        (StochasticEnKF(MODEL), StochasticEnKF(MODEL, radius=2.0), "localisation = None, not left out"),
        (StochasticEnKF(MODEL, radius=2.0), StochasticEnKF(MODEL), r"localisation\.radius = 2\.0, not left out"),
        (ThreeDVar(MODEL, CLIMATE, scale=0.1), ThreeDVar(MODEL, CLIMATE, scale=0.2), r"scale = 0\.1, not 0\.2"),
        (FourDVar(MODEL, CLIMATE, scale=0.1), FourDVar(MODEL, CLIMATE, scale=0.2), r"scale = 0\.1, not 0\.2"),
    ],
)
def test_that_a_run_is_not_resumed_with_another_radius_or_scale(twin, ensemble, tmp_path, made, other, differing):
    path = tmp_path / "stopped.nc"
    assimilate(twin, made, ensemble, np.random.default_rng(3), cycles=2, checkpoint=path)
    with pytest.raises(ScoredaError, match=differing):
        resume(path, twin, other)
    assert resume(path, twin, made, cycles=3).sizes["time"] == 3
