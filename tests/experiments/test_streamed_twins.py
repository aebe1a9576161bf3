"""The twins of an experiment are written some times at a time, and so is a run that does not fit its budget."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from scoreda.datasets import open_dataset, simulate, twin_dataset, write_dataset
from scoreda.errors import ScoredaError
from scoreda.experiments.config import Experiment
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.twins import make_twins, twin_of_seed
from scoreda.models import Lorenz96


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch):
    monkeypatch.setattr("scoreda.datasets.rows.PART_VALUES", 50)


def settings(observations=None, **case):
    observed = {"interval": 0.05, "obs_std": 1.0} | (observations or {})
    one = {"model": {"size": 8}, "observations": observed, "cycles": 30, "members": 5, "spinup": 2.0, "burn_in": 4}
    return {"name": "t", "cases": {"one": one | {"methods": {"letkf": {"kind": "letkf", "radius": 2.0}}} | case}}


def written(config, folder):
    make_twins(config, RunFolder(folder))
    with open_dataset(RunFolder(folder).twin("one", config.seeds[0] if config.twin_per_seed else None)) as ds:
        return ds.load()


def assert_same(found, expected):
    xr.testing.assert_equal(found, expected)
    for name in expected.variables:
        assert found[name].attrs == expected[name].attrs
        assert found[name].dtype == expected[name].dtype


def test_that_the_twin_of_a_case_is_the_simulated_one_to_the_bit(tmp_path):
    config = Experiment.model_validate(settings({"missing": 0.3}) | {"twin_per_seed": True})
    write_dataset(twin_of_seed(config, "one", config.seeds[0]), tmp_path / "whole.nc")
    assert_same(written(config, tmp_path / "run"), open_dataset(tmp_path / "whole.nc").load())


@pytest.mark.parametrize("truth", [("time", "space"), ("time", "x"), None])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int32])
def test_that_the_twin_of_a_file_holds_its_first_cycles_in_the_layout(tmp_path, truth, kind):
    case = Experiment.model_validate(settings()).cases["one"]
    network, model = case.observations.build(8), Lorenz96(8)
    twin = simulate(model, network, 40, 1, 2.0)
    file = xr.Dataset({"obs": (("time", "obs"), twin["obs"].values.astype(kind))}, {"time": twin["time"].values})
    file["truth_initial"] = ("i", twin["truth_initial"].values)
    if truth:
        file["truth"] = (truth, twin["truth"].values)
    file.to_netcdf(tmp_path / "obs.nc")
    config = Experiment.model_validate(settings({"file": str(tmp_path / "obs.nc")}))
    states = twin["truth"].values[:30] if truth else None
    given = file["obs"].values[:30], states, twin["truth_initial"].values
    write_dataset(twin_dataset(model, network, twin["time"].values[:30], *given), tmp_path / "whole.nc")
    assert_same(written(config, tmp_path / "run"), open_dataset(tmp_path / "whole.nc").load())


def test_that_a_model_that_blows_up_late_leaves_nothing_behind(tmp_path):
    config = Experiment.model_validate(settings({"interval": 0.5}, model={"size": 8, "dt": 0.5}, spinup=0.5))
    with pytest.raises(ScoredaError, match="NaN or Inf"), np.errstate(all="ignore"):
        make_twins(config, RunFolder(tmp_path / "run"))
    assert not list(tmp_path.iterdir())


PEAK = """
import json, sys
from scoreda.experiments.config import Experiment
from scoreda.experiments.run import run_experiment
run_experiment(Experiment.model_validate(json.load(open(sys.argv[1]))), sys.argv[2], memory=480e6)
# Not getrusage: its peak begins at that of the process that started this one.
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024)
"""


@pytest.mark.slow
def test_that_memory_does_not_grow_with_the_cycles_of_a_streamed_experiment(tmp_path):
    peaks = []
    for cycles in (100, 1000):
        config = settings({"operator": "every", "step": 100}, model={"size": 1000}, cycles=cycles)
        (tmp_path / "c.json").write_text(json.dumps(config | {"ensembles": False}))
        command = [sys.executable, "-c", PEAK, str(tmp_path / "c.json"), str(tmp_path / str(cycles))]
        threads = dict(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
        done = subprocess.run(command, env=os.environ | threads, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < 1.05 * peaks[0], peaks
