"""Forecasts: every member of every start follows the model, and the times are labelled as they should be."""

import numpy as np
import pytest
import xarray as xr

from scoreda.assimilation import FreeRun, assimilate, forecast, initial_ensemble
from scoreda.datasets import open_dataset, simulate, with_calendar, write_dataset
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import GaussianError, Identity, Network

MODEL = Lorenz96(6)


@pytest.fixture(scope="module")
def run():
    twin = simulate(MODEL, Network(Identity(6), GaussianError(1.0, 6), 0.1), 4, seed=1)
    ensemble = initial_ensemble(twin, 3, rng=np.random.default_rng(2))
    return assimilate(twin, FreeRun(MODEL), ensemble, np.random.default_rng(3))


def test_that_every_member_of_every_start_follows_the_model(run):
    states = forecast(run, lead_times=[0.0, 0.1, 0.5])["forecast"]
    assert states.dims == ("init_time", "lead_time", "member", "space")
    for k in range(4):
        start = run["analysis"].values[k]
        for j, steps in enumerate((0, 2, 10)):
            np.testing.assert_array_equal(states[k, j], MODEL.step(start, steps).astype(np.float32))


def test_that_valid_time_is_the_start_plus_the_lead(run):
    ds = forecast(run, lead_times=[0.2, 0.3])
    np.testing.assert_allclose(ds["valid_time"], [[0.3, 0.4], [0.4, 0.5], [0.5, 0.6], [0.6, 0.7]])
    assert ds["forecast"].attrs["long_name"] == "forecast ensemble"
    assert ds.attrs["title"] == "forecast from: free_run analysis"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", [lambda ds: ds, with_calendar])
def test_that_a_forecast_survives_a_round_trip(run, tmp_path, change):
    ds = change(forecast(run, lead_times=[0.2, 0.3]))
    write_dataset(ds, tmp_path / "forecast.nc")
    with open_dataset(tmp_path / "forecast.nc") as again:
        xr.testing.assert_identical(again, ds)


def test_that_a_calendar_brings_the_standard_names(run):
    ds = with_calendar(forecast(run, lead_times=[0.2, 0.3]))
    names = {name: ds[name].attrs["standard_name"] for name in ("init_time", "lead_time", "valid_time", "member")}
    assert names == {
        "init_time": "forecast_reference_time",
        "lead_time": "forecast_period",
        "valid_time": "time",
        "member": "realization",
    }
    np.testing.assert_array_equal(ds["init_time"] + ds["lead_time"], ds["valid_time"])
    assert ds["lead_time"].values[0] == np.timedelta64(24, "h")


def test_that_a_lost_start_gives_a_lost_forecast_and_spoils_no_other(run):
    analysis = run["analysis"].where(run["time"] != run["time"][1])
    states = forecast(run.assign(analysis=analysis), lead_times=[0.3])["forecast"]
    assert states[1].isnull().all()
    xr.testing.assert_equal(states[[0, 2, 3]], forecast(run, lead_times=[0.3])["forecast"][[0, 2, 3]])


def test_that_another_model_may_make_the_forecast(run):
    states = forecast(run, UserModel(lambda E: E + 1, 6, dt=0.1), lead_times=[0.3])["forecast"]
    np.testing.assert_allclose(states[:, 0], run["analysis"].values + 3, rtol=1e-6)


@pytest.mark.parametrize("lead_times", [[], [0.2, 0.1], [-0.1], [0.1, 0.1]])
def test_that_lead_times_must_increase(run, lead_times):
    with pytest.raises(ValueError, match="`lead_times` must increase"):
        forecast(run, lead_times=lead_times)


def test_that_a_lead_time_between_two_steps_is_refused(run):
    with pytest.raises(ValueError, match="whole numbers of model steps"):
        forecast(run, lead_times=[0.12])


def test_that_a_dataset_without_an_analysis_is_refused(run):
    with pytest.raises(ScoredaError, match="no `analysis"):
        forecast(run.drop_vars("analysis"), lead_times=[0.1])
