import numpy as np
import pytest
import xarray as xr

from scoreda.datasets import AnnualCycle, read_field
from scoreda.errors import ScoredaError

DATES = np.arange("2006-04", "2010-10", dtype="datetime64[M]").astype("datetime64[ns]")


def seasonal(dates, level, slope=0.0):
    """A field (time, lat, lon) whose annual cycle differs from point to point."""
    years = (dates - dates.astype("datetime64[Y]")) / np.timedelta64(1, "D") / 365.25
    amplitude = np.arange(6.0).reshape(2, 3)
    values = (
        level + amplitude * np.cos(2 * np.pi * years - 1)[:, None, None] + slope * np.arange(len(dates))[:, None, None]
    )
    return xr.DataArray(values, {"time": dates}, ("time", "lat", "lon"))


def test_that_a_field_that_is_its_annual_cycle_has_no_anomalies():
    field = seasonal(DATES, level=300.0)
    np.testing.assert_allclose(AnnualCycle.of(field, 1).anomalies(field), 0, atol=1e-10)


def test_that_the_cycle_is_that_of_the_fitted_months_alone():
    train = seasonal(DATES[:42], level=300.0)
    later = seasonal(DATES[42:], level=302.5)
    np.testing.assert_allclose(AnnualCycle.of(train, 1).anomalies(later), 2.5, atol=1e-10)


def test_that_anomalies_do_not_depend_on_the_order_of_the_dimensions():
    field = seasonal(DATES, level=300.0, slope=0.1)
    straight = AnnualCycle.of(field, 2).anomalies(field)
    turned = field.transpose("lon", "lat", "time")
    np.testing.assert_allclose(AnnualCycle.of(turned, 2).anomalies(turned), straight.transpose("time", "lon", "lat"))
    assert float(np.abs(straight).max()) > 0.5


def test_that_a_field_without_dates_has_no_annual_cycle():
    with pytest.raises(ScoredaError, match="`time` holds no dates"):
        AnnualCycle.of(xr.DataArray(np.ones((8, 2)), {"time": np.arange(8)}, ("time", "lon")), 1)


def test_that_too_few_dates_are_refused():
    with pytest.raises(ScoredaError, match="5 dates or more, got 4"):
        AnnualCycle.of(seasonal(DATES[:4], level=0.0), 2)


def test_that_a_field_is_cut_by_position(tmp_path):
    field = seasonal(DATES, level=300.0)
    field.to_dataset(name="sst").to_netcdf(tmp_path / "f.nc")
    part = read_field(tmp_path / "f.nc", "sst", {"lon": [1, 3], "time": [0, 5]}, needs=("lat",))
    xr.testing.assert_equal(part, field[:5, :, 1:3])
