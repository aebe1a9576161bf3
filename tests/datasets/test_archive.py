"""Archives: streamed files equal their chunks, failures leave nothing, splits keep trajectories whole."""

import tracemalloc

import numpy as np
import pytest

from scoreda.datasets import Normaliser, archive_chunks, open_dataset, read_archive, split_by_trajectory, write_archive
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96, UserModel


def walk(E):
    return E + 1.0


def counting_model():
    """States that count steps, from a start that numbers the trajectories."""
    return UserModel(walk, 2, dt=0.5, random_states=lambda members, rng: 100.0 * np.arange(2 * members).reshape(-1, 2))


@pytest.mark.filterwarnings("error")
def test_that_a_streamed_archive_equals_its_chunks(tmp_path):
    model, request = Lorenz96(6), dict(trajectories=600, states=3, interval=2, seed=5, spinup=1.0)
    write_archive(tmp_path / "archive.nc", model, **request)
    chunks = list(archive_chunks(model, **request))
    assert [len(chunk) for chunk in chunks] == [250, 250, 100]
    np.testing.assert_array_equal(read_archive(tmp_path / "archive.nc"), np.concatenate(chunks))


def test_that_states_are_an_interval_apart_after_the_spin_up(tmp_path):
    write_archive(tmp_path / "archive.nc", counting_model(), 2, states=3, interval=4, seed=0, spinup=5.0)
    with open_dataset(tmp_path / "archive.nc") as ds:
        np.testing.assert_array_equal(ds["states"][1, :, 0], [210.0, 214.0, 218.0])
        np.testing.assert_array_equal(ds["time"], [0.0, 2.0, 4.0])
        assert ds["states"].dims == ("trajectory", "time", "space")


def test_that_chunks_are_independent():
    first, second = archive_chunks(Lorenz96(6), 500, 1, 1, seed=5)
    assert not np.isclose(first, second).all(axis=-1).any()


def test_that_writing_takes_the_memory_of_a_chunk_only(tmp_path):
    request = dict(states=8, interval=1, seed=0, spinup=0.0)
    write_archive(tmp_path / "warm.nc", Lorenz96(40), 1, **request)
    tracemalloc.start()
    write_archive(tmp_path / "archive.nc", Lorenz96(40), 5000, **request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.25 * (tmp_path / "archive.nc").stat().st_size


def test_that_a_blow_up_names_the_trajectory_and_leaves_no_file(tmp_path):
    def spoilt(members, rng):
        E = np.zeros((members, 2))
        E[7 if members < 250 else []] = np.nan
        return E

    with pytest.raises(ScoredaError, match="the model user: NaN or Inf at index 257"):
        write_archive(tmp_path / "archive.nc", UserModel(walk, 2, random_states=spoilt), 300, 2, 1, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_that_a_senseless_request_is_refused():
    with pytest.raises(ValueError, match="must be positive, got 0, 1, 1"):
        next(archive_chunks(Lorenz96(6), 0, 1, 1, seed=0))


def test_that_every_trajectory_is_on_one_side_of_the_split():
    states = np.arange(100)[:, None, None] * np.ones((1, 4, 3))
    training, validation = split_by_trajectory(states, 0.1)
    assert (len(training), len(validation)) == (90, 10)
    np.testing.assert_array_equal(np.concatenate([training, validation]), states)


def test_that_the_smallest_split_keeps_one_trajectory_for_validation():
    assert len(split_by_trajectory(np.zeros((2, 5)), 0.01)[1]) == 1
    with pytest.raises(ValueError, match="at least 2 trajectories"):
        split_by_trajectory(np.zeros((1, 5)))


def test_that_a_normaliser_gives_zero_mean_and_unit_variance_and_back():
    states = np.random.default_rng(0).normal(2.3, 3.6, (50, 8)).astype(np.float32)
    normaliser = Normaliser.of(states)
    assert normaliser.apply(states).mean() == pytest.approx(0.0, abs=1e-6)
    assert normaliser.apply(states).std() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(normaliser.invert(normaliser.apply(states)), states, atol=1e-5)
    assert Normaliser(**normaliser.to_dict()) == normaliser


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (np.nan, 1.0), (0.0, -1.0), (0.0, np.inf)])
def test_that_a_normaliser_needs_a_positive_std(mean, std):
    with pytest.raises(ValueError, match="a positive std"):
        Normaliser(mean, std)
