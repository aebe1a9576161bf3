"""Training from an archive that stays on disk is training from the archive in memory."""

import shutil

import netCDF4
import numpy as np
import pytest
import torch
from tiny_training import make_denoiser, make_trainer, rows

from scoreda.datasets import Layout, Normaliser, read_archive, read_chunks, write_archive
from scoreda.diffusion.training import ArchiveSamples, windows
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96

NORMALISER = Normaliser(2.0, 3.5)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "archive.nc"
    write_archive(path, Lorenz96(size=12), trajectories=260, states=3, interval=2, seed=1, spinup=0.5)
    return path


def in_memory(archive, trajectories):
    states = read_archive(archive)[trajectories]
    return torch.from_numpy(NORMALISER.apply(states.reshape(-1, 1, 12)))


def test_that_batches_are_those_of_the_archive_in_memory_in_any_order(archive):
    samples, whole = ArchiveSamples(archive, NORMALISER, slice(5, 250)), in_memory(archive, slice(5, 250))
    index = torch.randint(len(whole), (64,), generator=torch.Generator().manual_seed(1))
    assert samples.shape == tuple(whole.shape)
    assert torch.equal(samples.take(index).x, whole[index])


def test_that_a_training_from_disk_is_the_training_from_memory_to_the_bit(archive, tmp_path):
    kept = slice(0, 250)
    for name, data in {"disk": ArchiveSamples(archive, NORMALISER, kept), "memory": in_memory(archive, kept)}.items():
        make_trainer(tmp_path / name, data=data, valid=in_memory(archive, slice(250, 260))).run()
    assert rows(tmp_path / "disk") == rows(tmp_path / "memory")
    weights = [torch.load(tmp_path / name / "last.pt")["denoiser"] for name in ("disk", "memory")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(("frames", "stride"), [(2, 1), (2, None), (3, 2), (1, 2)])
def test_that_windows_on_disk_are_the_windows_in_memory_to_the_bit(archive, frames, stride):
    layout = Layout.of_archive(archive, slice(5, 60), frames, stride)
    whole = torch.from_numpy(
        NORMALISER.apply(windows(read_archive(archive)[5:60], frames, stride).reshape(-1, frames, 12))
    )
    samples = ArchiveSamples(archive, NORMALISER, layout)
    assert samples.shape == tuple(whole.shape)
    index = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1))
    assert torch.equal(samples.take(index).x, whole[index])


def test_that_windows_longer_than_the_trajectories_are_refused(archive):
    with pytest.raises(ValueError, match="4 frames does not fit into trajectories of 3"):
        Layout.of_archive(archive, frames=4)


def test_that_an_archive_that_does_not_fit_the_network_is_refused(archive, tmp_path):
    with pytest.raises(ValueError, match="channels"):
        data = ArchiveSamples(archive, NORMALISER)
        make_trainer(tmp_path, data=data, denoiser=make_denoiser(channels=2))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_that_a_bad_state_is_refused_by_its_place_in_the_file(archive, tmp_path, value):
    path = tmp_path / "bad.nc"
    shutil.copy(archive, path)
    with netCDF4.Dataset(path, "a") as f:
        f["states"][7, 2, 4] = value
    trainer = make_trainer(tmp_path, data=ArchiveSamples(path, NORMALISER, slice(5, 9)), batch=64)
    with pytest.raises(ScoredaError, match=r"bad.nc: `states` holds NaN or Inf in trajectory 7, time 2\. Leave"):
        trainer.run()


@pytest.mark.parametrize("trajectories", [slice(None), slice(3, 258), slice(255, 260)])
def test_that_chunks_together_are_the_archive(archive, trajectories):
    chunks = list(read_chunks(archive, trajectories))
    np.testing.assert_array_equal(np.concatenate(chunks), read_archive(archive)[trajectories])
    assert max(map(len, chunks)) <= 250


def test_that_chunks_of_every_second_trajectory_are_refused(archive):
    with pytest.raises(ValueError, match="Pass a slice without a step"):
        next(read_chunks(archive, slice(0, 6, 2)))


def test_that_the_normaliser_of_chunks_is_that_of_the_whole():
    x = np.random.default_rng(1).normal(100.0, 0.1, size=(1000, 7))
    whole, chunked = Normaliser.of(x), Normaliser.of_chunks(np.split(x, [1, 400, 990]))
    assert chunked.mean == pytest.approx(whole.mean, rel=1e-14)
    assert chunked.std == pytest.approx(whole.std, rel=1e-10)
