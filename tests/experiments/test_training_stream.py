"""Training from a file that stays on disk is training from the file in memory."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from scoreda.datasets import Normaliser, read_parts, write_archive
from scoreda.errors import ScoredaError
from scoreda.experiments.config import Training, resolved
from scoreda.experiments.training_data import make_samples, states_of_file
from scoreda.experiments.training_stream import make_streamed_samples
from scoreda.models import Lorenz96

SYSTEM = {"model": {"size": 8}, "trajectories": 12, "states": 7, "interval": 2, "spinup": 2.0, "seed": 5}
TRAIN = {"steps": 6, "batch": 4, "warmup": 2, "validate_every": 3}


def settings(source, train=None, **rest):
    config = {"name": "tiny", "network": {"width": 4, "blocks": 1, "embedding": 4}, "train": TRAIN | (train or {})}
    return resolved(Training.model_validate(config | source | rest | {"valid_fraction": 0.25, "valid_every": 2}))


def write_field(path, dims, shape, encoding=None):
    field = np.random.default_rng(2).normal(10.0, 3.0, size=shape)
    xr.Dataset({"x": (dims, field)}).to_netcdf(path, encoding={"x": encoding or {}})


FIELDS = {
    "rows": (("time", "lat", "space"), (16, 3, 6), {}, None),
    "cut": (("time", "lat", "space"), (20, 4, 6), {"select": {"time": [2, 18], "lat": [1, 4], "space": [0, 5]}}, None),
    "turned": (("space", "lat", "time"), (6, 3, 16), {"select": {"lat": [0, 2]}}, None),
    "planes": (("level", "time", "lat", "lon"), (2, 16, 4, 5), {"space": ["lat", "lon"], "channels": "level"}, None),
    "along the split": (("time", "lat", "space"), (24, 2, 6), {}, {"frames": 3, "stride": 2}),
    "of trajectories": (("run", "lat", "time", "space"), (8, 2, 7, 6), {"split": "run"}, {"frames": 3}),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    "encoding", [{}, {"dtype": "i2", "scale_factor": 0.01, "add_offset": 10.0, "_FillValue": -9999}]
)
def test_that_samples_on_disk_are_those_in_memory_to_the_bit(tmp_path, monkeypatch, name, encoding):
    dims, shape, data, window = FIELDS[name]
    write_field(tmp_path / "f.nc", dims, shape, encoding)
    data = {"file": str(tmp_path / "f.nc"), "variable": "x"} | data
    config = settings({"data": data} | ({"window": window} if window else {}))
    train, valid, normaliser = make_samples(config, states_of_file(config))
    found = make_streamed_samples(config)[2]
    assert found.mean == pytest.approx(normaliser.mean, rel=1e-12)
    assert found.std == pytest.approx(normaliser.std, rel=1e-12)
    monkeypatch.setattr(Normaliser, "of_chunks", lambda chunks: normaliser)
    samples, held_out, _ = make_streamed_samples(config)
    assert samples.shape == tuple(train.shape)
    assert torch.equal(samples.take(torch.arange(len(train))).x, train)
    assert torch.equal(held_out, valid)


@pytest.mark.parametrize("window", [None, {"frames": 3}, {"frames": 2, "stride": 2}])
def test_that_an_archive_on_disk_gives_the_samples_of_the_archive_in_memory(tmp_path, monkeypatch, window):
    config = settings({"system": SYSTEM} | ({"window": window} if window else {}))
    write_archive(tmp_path / "a.nc", Lorenz96(8), trajectories=12, states=7, interval=2, spinup=2.0, seed=5)
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        train, valid, normaliser = make_samples(config, ds["states"].values)
    monkeypatch.setattr(Normaliser, "of_chunks", lambda chunks: normaliser)
    samples, held_out, _ = make_streamed_samples(config, tmp_path / "a.nc")
    assert torch.equal(samples.take(torch.arange(len(samples))).x, train)
    assert torch.equal(held_out, valid)


@pytest.mark.parametrize("values", [1, 7, 40, 10**6])
def test_that_a_field_read_in_parts_is_the_field(tmp_path, values):
    write_field(tmp_path / "f.nc", ("time", "lat", "space"), (5, 3, 6))
    parts = list(read_parts(tmp_path / "f.nc", "x", {"time": [1, 5], "space": [0, 5]}, values))
    with xr.open_dataset(tmp_path / "f.nc") as ds:
        whole = ds["x"].values[1:5, :, :5].astype(np.float32)
    np.testing.assert_array_equal(np.concatenate([part.ravel() for part in parts]), whole.ravel())
    assert max(part.size for part in parts) <= values


def test_that_a_bad_value_in_a_part_is_told_by_its_place_in_the_file(tmp_path):
    field = np.ones((6, 4))
    field[4, 2] = np.nan
    xr.Dataset({"x": (("time", "space"), field)}).to_netcdf(tmp_path / "f.nc")
    with pytest.raises(ScoredaError, match=r"f\.nc: `x`: NaN or Inf at index 4\."):
        list(read_parts(tmp_path / "f.nc", "x", {"time": [2, 6]}, values=4))


def test_that_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("scoreda.datasets.read_parts", partial(read_parts, values=2**14))
    peaks = []
    for number in (40, 400):
        write_field(tmp_path / f"{number}.nc", ("time", "space"), (number, 2000))
        source = {"data": {"file": str(tmp_path / f"{number}.nc"), "variable": "x"}}
        config = settings(source, {"batch": 2}) | {"valid_fraction": 2 / number}
        make_streamed_samples(config)  # what is loaded on first use
        tracemalloc.start()
        samples, *_ = make_streamed_samples(config)
        samples.take(torch.arange(2))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] == pytest.approx(peaks[0], rel=0.1)
