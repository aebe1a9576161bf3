"""Files: what is written is read back identically, what fails leaves nothing behind, what is wrong is said."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from scoreda.datasets import open_dataset, simulate, with_calendar, write_dataset
from scoreda.datasets.layout import check_finite, provenance, replacing
from scoreda.datasets.provenance import derived
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96
from scoreda.observations import Elementwise, EveryNth, GaussianError, Network


@pytest.fixture(scope="module")
def twin():
    network = Network(Elementwise(EveryNth(8, 2), "arctan"), GaussianError([0.1, 0.2, 0.3, 0.4], 4), 0.1)
    return simulate(Lorenz96(8), network, 12, seed=1, missing=0.2)


@pytest.mark.filterwarnings("error")
def test_that_a_round_trip_is_identical(twin, tmp_path):
    write_dataset(twin, tmp_path / "new folder" / "twin.nc")
    with open_dataset(tmp_path / "new folder" / "twin.nc", needs=("truth", "obs")) as again:
        xr.testing.assert_identical(again, twin)


@pytest.mark.filterwarnings("error")
def test_that_a_round_trip_with_a_calendar_is_identical(twin, tmp_path):
    dated = with_calendar(twin, "2001-03-01", mtu_hours=120)
    write_dataset(dated, tmp_path / "twin.nc")
    with open_dataset(tmp_path / "twin.nc") as again:
        xr.testing.assert_identical(again, dated)


def test_that_a_calendar_counts_from_its_start(twin):
    dated = with_calendar(twin, "2001-03-01", mtu_hours=120)["time"]
    assert dated.values[2] == np.datetime64("2001-03-02T12:00", "ns")  # 0.3 time units are 36 hours
    assert dated.attrs == {"axis": "T", "standard_name": "time"}


def test_that_the_file_follows_the_conventions(twin, tmp_path):
    write_dataset(twin, tmp_path / "twin.nc")
    with xr.open_dataset(tmp_path / "twin.nc", decode_cf=False) as raw:
        assert raw.attrs["Conventions"] == "CF-1.11"
        assert raw["time"].attrs == {"units": "1", "long_name": "model time (MTU)", "axis": "T"}
        assert all({"units", "long_name"} <= variable.attrs.keys() for variable in raw.variables.values())


def test_that_files_are_written_and_read_without_netcdf4(twin, tmp_path):
    code = (
        "import sys; sys.modules['netCDF4'] = None\n"
        "from scoreda.datasets import *; from scoreda.models import Lorenz96; from scoreda.observations import *\n"
        "network = Network(Elementwise(EveryNth(8, 2), 'arctan'), GaussianError([0.1, 0.2, 0.3, 0.4], 4), 0.1)\n"
        f"write_dataset(simulate(Lorenz96(8), network, 12, seed=1, missing=0.2), r'{tmp_path / 'other.nc'}')\n"
        f"assert len(list(observations(open_dataset(r'{tmp_path / 'other.nc'}')))) == 12"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with open_dataset(tmp_path / "other.nc") as again:
        xr.testing.assert_equal(again, twin)


def test_that_files_are_opened_lazily(twin, tmp_path):
    write_dataset(twin, tmp_path / "twin.nc")
    with open_dataset(tmp_path / "twin.nc") as again:
        assert not again["truth"].variable._in_memory


def test_that_the_configuration_is_kept_with_its_hash():
    attrs = provenance("a title", 7, sites=np.array([3, 1]), dt=np.float64(0.05))
    assert json.loads(attrs["scoreda_config"]) == {"sites": [3, 1], "dt": 0.05}
    assert attrs["scoreda_config_sha256"] == hashlib.sha256(attrs["scoreda_config"].encode()).hexdigest()
    assert {"python", "numpy"} <= json.loads(attrs["versions"]).keys()
    assert all(isinstance(value, str | int) for value in attrs.values())


def test_that_history_holds_the_command_without_the_folders_of_this_machine(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/opt/someone/bin/scoreda", "demo", "--out=/scratch/someone/runs", "runs/demo"])
    assert provenance("a title", 0)["history"].endswith("Z scoreda demo --out=runs runs/demo")


def test_that_history_grows_by_a_line_and_the_rest_stays():
    attrs = derived({"history": "made", "seed": 3}, "another title")
    assert attrs["history"].splitlines()[1:] == ["made"]
    assert (attrs["seed"], attrs["title"]) == (3, "another title")


def test_that_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]
    assert path.read_text() == "old"


def test_that_success_replaces_the_old_file(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]
    assert path.read_text() == "new"


def test_that_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ScoredaError, match="cannot write .*Choose a folder"), replacing(tmp_path / "file" / "x.nc"):
        pass


def test_that_a_missing_file_is_said(tmp_path):
    with pytest.raises(ScoredaError, match="there is no file"):
        open_dataset(tmp_path / "none.nc")


@pytest.mark.parametrize("content", [b"", b"not netCDF at all", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_that_a_file_of_another_format_is_said(tmp_path, content):
    (tmp_path / "bad.nc").write_bytes(content)
    with pytest.raises(ScoredaError, match="cannot read .* as netCDF"):
        open_dataset(tmp_path / "bad.nc")


def test_that_a_truncated_file_is_said(twin, tmp_path):
    path = tmp_path / "twin.nc"
    write_dataset(twin, path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ScoredaError, match="truncated"):
        open_dataset(path)


def test_that_a_missing_variable_is_said_with_the_nearest_name(twin, tmp_path):
    write_dataset(twin, tmp_path / "twin.nc")
    with pytest.raises(ScoredaError, match="has no variable 'thruth'; did you mean 'truth'"):
        open_dataset(tmp_path / "twin.nc", needs=("thruth",))


def test_that_the_place_of_a_nan_is_named():
    array = np.zeros((4, 2, 3))
    array[2, 1, 0] = np.nan
    with pytest.raises(ScoredaError, match="my file: NaN or Inf at index 12"):
        check_finite(array, "my file", first=10)
    check_finite(array[:2], "my file")
