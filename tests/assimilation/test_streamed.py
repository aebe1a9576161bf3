"""A run that is written cycle by cycle is the run that is kept in memory."""

import numpy as np
import pytest
import xarray as xr

from scoreda.assimilation import LETKF, StochasticEnKF, assimilate, assimilate_to, initial_ensemble
from scoreda.datasets import open_dataset, simulate, write_dataset
from scoreda.models import Lorenz96
from scoreda.observations import EveryNth, GaussianError, Network

MODEL = Lorenz96(size=20)


@pytest.fixture(scope="module")
def twin():
    network = Network(EveryNth(20, 2), GaussianError(1.0, 10), interval=0.05)
    return simulate(MODEL, network, cycles=12, seed=1, spinup=2.0)


def start(twin):
    return initial_ensemble(twin, 6, rng=np.random.default_rng(2))


@pytest.mark.parametrize("cycles", [None, 7])
@pytest.mark.parametrize("chunks", [None, {"time": 5}])
@pytest.mark.parametrize("values", [30, 10**6])
def test_that_a_streamed_run_is_the_run_in_memory_to_the_bit(twin, tmp_path, monkeypatch, cycles, chunks, values):
    monkeypatch.setattr("scoreda.datasets.rows.PART_VALUES", values)
    write_dataset(twin, tmp_path / "twin.nc")
    method = LETKF(MODEL, 3.0, rotate=True)
    with open_dataset(tmp_path / "twin.nc", chunks=chunks) as file:
        assimilate_to(tmp_path / "run.nc", file, method, start(twin), np.random.default_rng(3), cycles)
    run = assimilate(twin, method, start(twin), np.random.default_rng(3), cycles)
    with open_dataset(tmp_path / "run.nc", needs=("analysis",)) as streamed:
        run.attrs.pop("history"), streamed.attrs.pop("history")
        for name in run.variables:
            xr.testing.assert_equal(streamed[name].load(), run[name])
            assert streamed[name].attrs == run[name].attrs
            assert streamed[name].dtype == run[name].dtype
        assert set(streamed.variables) == set(run.variables)
        assert {key: str(value) for key, value in streamed.attrs.items()} == {
            key: str(value) for key, value in run.attrs.items()
        }


def test_that_cycles_after_a_divergence_are_nan_in_the_file(twin, tmp_path):
    class Diverging(StochasticEnKF):
        def step(self, state, obs, rng):
            if obs.time > 0.2:
                raise np.linalg.LinAlgError
            return super().step(state, obs, rng)

    assimilate_to(tmp_path / "run.nc", twin, Diverging(MODEL), start(twin), np.random.default_rng(3))
    with open_dataset(tmp_path / "run.nc") as run:
        assert run.attrs["diverged"] == 4
        finite = np.isfinite(run["analysis"]).all(("member", "space"))
        np.testing.assert_array_equal(finite, np.arange(12) < 4)


def test_that_a_run_that_is_refused_leaves_no_file(twin, tmp_path):
    with pytest.raises(ValueError, match="cycles"):
        assimilate_to(tmp_path / "run.nc", twin, LETKF(MODEL, 3.0), start(twin), np.random.default_rng(3), cycles=99)
    assert list(tmp_path.iterdir()) == []
