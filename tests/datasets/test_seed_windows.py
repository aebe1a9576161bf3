import numpy as np
import pytest
import xarray as xr

from scoreda.datasets import make_seed_windows, read_seed_windows, write_seed_windows
from scoreda.errors import ScoredaError


@pytest.fixture(scope="module")
def windows():
    return make_seed_windows(42, trajectories=5, size=8, frames=4, steps=600)


@pytest.mark.filterwarnings("error")
def test_that_windows_are_read_as_they_were_written(windows, tmp_path):
    write_seed_windows(windows, tmp_path / "windows.nc")
    with read_seed_windows(tmp_path / "windows.nc") as again:
        xr.testing.assert_identical(again, windows)


def test_that_the_layout_is_that_of_the_source(windows):
    field = windows["lorenz96_trajectory"]
    assert field.dims == ("batch", "time", "space")
    assert {name: str(v.dtype) for name, v in field.coords.items()} == dict(
        batch="int32", time="float32", space="float32"
    )
    np.testing.assert_allclose(field["time"], [0, 0.2, 0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(field["space"], np.arange(8) * np.pi / 4, rtol=1e-6)
    assert field.dtype == np.float32
    assert field.attrs == dict(forcing=8.0, dt=0.005, seed=42, amp_perturb=0.01, output_time_interval=40)
    assert not windows.attrs


def test_that_a_window_ends_its_trajectory_of_euler_steps(windows):
    def tendency(x):
        return (np.roll(x, -1, 1) - np.roll(x, 2, 1)) * np.roll(x, 1, 1) - x + 8.0

    x, kept = 8 + 0.01 * np.random.default_rng(42).normal(size=(5, 8)), {}
    for step in range(600):
        x = x + 0.005 * tendency(x)
        kept[step + 1] = x
    expected = np.stack([kept[step] for step in (480, 520, 560, 600)], axis=1)
    np.testing.assert_allclose(windows["lorenz96_trajectory"], expected, atol=1e-4)


def test_that_a_window_longer_than_its_trajectory_is_refused():
    with pytest.raises(ValueError, match="need 120 `steps`, got 100"):
        make_seed_windows(42, trajectories=2, frames=4, steps=100)


def test_that_windows_that_blew_up_are_not_written(windows, tmp_path):
    spoilt = windows.copy(deep=True)
    spoilt["lorenz96_trajectory"][3, 0, 0] = np.nan
    with pytest.raises(ScoredaError, match="index 3"):
        write_seed_windows(spoilt, tmp_path / "windows.nc")
    assert not (tmp_path / "windows.nc").exists()


SPOILT = [
    (lambda ds: ds.rename(lorenz96_trajectory="states"), "variable 'lorenz96_trajectory'"),
    (lambda ds: ds.transpose("time", "batch", "space"), r"got \('time', 'batch', 'space'\)"),
    (lambda ds: ds.drop_attrs(), "missing: forcing, dt, seed"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_that_files_that_are_no_windows_are_refused(windows, tmp_path, spoil, message):
    spoil(windows).to_netcdf(tmp_path / "windows.nc")
    with pytest.raises(ScoredaError, match=message):
        read_seed_windows(tmp_path / "windows.nc")


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_that_what_is_no_windows_is_not_written(windows, tmp_path, spoil, message):
    with pytest.raises(ScoredaError, match=message):
        write_seed_windows(spoil(windows), tmp_path / "windows.nc")
