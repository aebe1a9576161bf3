import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr

from scoreda.datasets import read_archive, write_archive
from scoreda.diffusion import load_prior
from scoreda.errors import ScoredaError
from scoreda.experiments.config import Training, resolved
from scoreda.experiments.estimate import describe
from scoreda.experiments.sample import points_along_axes, write_samples
from scoreda.experiments.train import make_denoiser, train_prior
from scoreda.experiments.training_data import make_samples, sample_shape, states_of_file
from scoreda.experiments.yaml_source import dump
from scoreda.models import Lorenz96

SYSTEM = {"model": {"size": 8}, "trajectories": 8, "states": 6, "interval": 2, "spinup": 2.0, "seed": 5}
FILES = {
    "archive.nc", "card.md", "config.yaml", "last.pt", "loss.png", "metrics.csv", "metrics.jsonl",
    "weights.safetensors",
}  # fmt: skip


def settings(source=None, network=None, **train):
    return resolved(
        Training.model_validate(
            {
                "name": "tiny",
                **(source or {"system": SYSTEM}),
                "network": network or {"width": 4, "blocks": 1, "embedding": 4},
                "train": {"steps": 8, "batch": 4, "warmup": 2, "validate_every": 8} | train,
                "valid_fraction": 0.25,
                "valid_every": 2,
            }
        )
    )


def weights_of(folder):
    return load_prior(folder).denoiser.state_dict()


def assert_equal(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_that_training_leaves_a_folder_that_loads_as_a_prior(tmp_path):
    trained = train_prior(settings(), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == FILES
    prior = load_prior(tmp_path)
    assert_equal(prior.denoiser.state_dict(), trained.denoiser.state_dict())
    train = read_archive(tmp_path / "archive.nc")[:6]
    assert prior.normaliser.mean == pytest.approx(train.astype(np.float64).mean(), rel=1e-12)
    assert prior.normaliser.std == pytest.approx(train.astype(np.float64).std(), rel=1e-12)
    assert prior.sample(3, 8, seed=1).shape == (3, 8)
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [8]
    assert "lorenz96 (size 8, forcing 8.0, dt 0.05, scheme rk4)" in (tmp_path / "card.md").read_text()


def test_that_the_archive_is_the_one_of_the_settings(tmp_path):
    train_prior(settings(), tmp_path / "run")
    write_archive(tmp_path / "a.nc", Lorenz96(8), trajectories=8, states=6, interval=2, spinup=2.0, seed=5)
    np.testing.assert_array_equal(read_archive(tmp_path / "run/archive.nc"), read_archive(tmp_path / "a.nc"))


def test_that_training_twice_gives_the_same_weights_and_leaves_the_global_random_state(tmp_path):
    before = torch.random.get_rng_state()
    train_prior(settings(), tmp_path / "a")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    train_prior(settings(), tmp_path / "b")
    assert_equal(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))


def test_that_the_seed_decides_the_initial_weights():
    a, b, c = (make_denoiser(settings(seed=seed)).state_dict() for seed in (1, 1, 2))
    assert_equal(a, b)
    assert not torch.equal(a["network.enter.weight"], c["network.enter.weight"])


def test_that_an_interrupted_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    import scoreda.experiments.train as train

    def stop(trainer, row):
        trainer.save()
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(train, "_draw_loss", stop)
        train_prior(settings(validate_every=4), tmp_path / "a")
    with pytest.raises(ScoredaError, match="--resume"):
        train_prior(settings(validate_every=4), tmp_path / "a")
    train_prior(settings(validate_every=4), tmp_path / "a", resume=True)
    train_prior(settings(validate_every=4), tmp_path / "b")
    assert_equal(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))
    steps = [json.loads(line)["step"] for line in (tmp_path / "a/metrics.jsonl").read_text().splitlines()]
    assert steps == [4, 8]


def test_that_other_settings_need_another_folder_or_overwriting(tmp_path):
    train_prior(settings(), tmp_path)
    with pytest.raises(ScoredaError, match=r"`train\.lr` differs"):
        train_prior(settings(lr=0.5), tmp_path, resume=True)
    train_prior(settings(steps=4), tmp_path, overwrite=True)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_that_any_netcdf_variable_can_be_learned_from(tmp_path):
    field = np.random.default_rng(2).normal(10.0, 3.0, size=(8, 5, 12)).astype(np.float32)
    xr.Dataset({"sst": (("month", "lat", "lon"), field)}).to_netcdf(tmp_path / "f.nc")
    data = {
        "file": str(tmp_path / "f.nc"),
        "variable": "sst",
        "space": "lon",
        "split": "month",
        "select": {"month": [0, 4]},
    }
    prior = train_prior(settings({"data": data}), tmp_path / "run")
    assert prior.normaliser.mean == pytest.approx(field[:3].astype(np.float64).mean(), rel=1e-6)
    assert "`sst` in `f.nc`" in (tmp_path / "run/card.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"split": "tim"}, "name tim"), ({"variable": "st"}, "'st'"), ({"select": {"x": [0, 1]}}, "name x"), ({}, "NaN")],
)
def test_that_data_that_do_not_fit_are_refused_by_name(tmp_path, change, message):
    field = np.ones((4, 3, 8))
    field[2, 1, 5] = np.nan
    xr.Dataset({"sst": (("time", "lat", "lon"), field)}).to_netcdf(tmp_path / "f.nc")
    data = {"file": str(tmp_path / "f.nc"), "variable": "sst", "space": "lon", "split": "time"} | change
    with pytest.raises(ScoredaError, match=message):
        train_prior(settings({"data": data}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Samples of other shapes.


def write_field(path, dims, shape, seed=2):
    """Write noise around 10 with standard deviation 3 as the variable `x`, and return it."""
    field = np.random.default_rng(seed).normal(10.0, 3.0, size=shape).astype(np.float32)
    xr.Dataset({"x": (dims, field)}).to_netcdf(path)
    return field


def learned(folder, dims, shape, data, **rest):
    """Settings of a training on a field of those dimensions, the samples it is trained on, and the field."""
    field = write_field(folder / "f.nc", dims, shape)
    data = {"file": str(folder / "f.nc"), "variable": "x"} | data
    config = settings({"data": data} | rest)
    train, valid, normaliser = make_samples(config, states_of_file(config))
    return config, normaliser.invert(train.numpy()), normaliser.invert(valid.numpy()), field


def test_that_dimensions_of_a_file_are_reordered_by_name(tmp_path):
    data = {"space": "lon", "split": "month"}
    _, train, valid, field = learned(tmp_path, ("lon", "month", "lat"), (5, 4, 3), data)
    rows = field.transpose(1, 2, 0)
    np.testing.assert_allclose(train[:, 0], rows[:3].reshape(9, 5), rtol=1e-6)
    np.testing.assert_allclose(valid[:, 0], rows[3, ::2], rtol=1e-6)


def test_that_a_dimension_of_channels_and_two_of_space_make_samples(tmp_path):
    data = {"space": ["lat", "lon"], "split": "day", "channels": "level"}
    _, train, valid, field = learned(tmp_path, ("level", "day", "lat", "lon"), (2, 4, 5, 6), data)
    np.testing.assert_allclose(train, field.swapaxes(0, 1)[:3], rtol=1e-6)
    np.testing.assert_allclose(valid, field.swapaxes(0, 1)[3:], rtol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_that_windows_along_the_dimension_that_is_split_stay_on_their_side(tmp_path, stride):
    window = {"frames": 3, "stride": stride, "time": "day"}
    data = {"space": "lon", "split": "day"}
    _, train, valid, field = learned(tmp_path, ("day", "lat", "lon"), (16, 2, 5), data, window=window)
    cut = lambda series, starts: np.stack([series[k : k + 3] for k in starts])
    expected = np.concatenate([cut(field[:12, lat], range(0, 10, stride)) for lat in range(2)])
    np.testing.assert_allclose(train, expected, rtol=1e-6)
    expected = np.concatenate([cut(field[12:, lat], range(0, 2, stride))[::2] for lat in range(2)])
    np.testing.assert_allclose(valid, expected, rtol=1e-6)


def test_that_windows_of_trajectories_are_cut_from_each(tmp_path):
    data = {"space": "space", "split": "run"}
    window = {"frames": 2, "stride": 2}
    _, train, _, field = learned(tmp_path, ("run", "time", "space"), (4, 5, 6), data, window=window)
    np.testing.assert_allclose(train, field[:3, :4].reshape(6, 2, 6), rtol=1e-6)


def test_that_windows_of_the_older_layout_are_read_as_they_are(tmp_path):
    field = np.random.default_rng(1).normal(size=(4, 3, 6)).astype(np.float32)
    attrs = dict(forcing=8.0, dt=0.005, seed=42, amp_perturb=0.01, output_time_interval=40)
    array = xr.DataArray(field, dims=("batch", "time", "space"), attrs=attrs)
    xr.Dataset({"lorenz96_trajectory": array}).to_netcdf(tmp_path / "f.nc")
    data = {"file": str(tmp_path / "f.nc"), "variable": "lorenz96_trajectory", "split": "batch", "channels": "time"}
    train_prior(settings({"data": data}), tmp_path / "run")
    assert load_prior(tmp_path / "run").sample(2, 6, seed=0, steps=2).shape == (2, 3, 6)


def test_that_a_prior_of_windows_is_learned_from_the_simulated_system(tmp_path):
    config = settings({"system": SYSTEM, "window": {"frames": 3}, "denoiser": "v", "schedule": {"name": "vp_linear"}})
    train_prior(config, tmp_path)
    prior = load_prior(tmp_path)
    assert (prior.denoiser.network.channels, prior.denoiser.target.coefficients.__name__) == (3, "v")
    write_samples(str(tmp_path), 2, [8], 0, tmp_path / "s.nc")
    with xr.open_dataset(tmp_path / "s.nc") as drawn:
        assert drawn["sample"].sizes == {"sample_index": 2, "channel": 3, "space": 8}
    assert "a denoiser of windows of 3 states of lorenz96" in (tmp_path / "card.md").read_text()
    assert "the squared error of the network's output, `v`" in (tmp_path / "card.md").read_text()


def test_that_a_plane_is_learned_from_with_previews_in_its_units(tmp_path):
    write_field(tmp_path / "f.nc", ("day", "lat", "lon"), (8, 5, 6))
    data = {"file": str(tmp_path / "f.nc"), "variable": "x", "space": ["lat", "lon"], "split": "day"}
    network = {"name": "convnet2d", "width": 4, "blocks": 1, "circular": [False, True]}
    config = settings({"data": data, "preview": {"number": 20, "steps": 3}}, network)
    train_prior(config, tmp_path / "run")
    with np.load(tmp_path / "run/previews.npz") as file:
        assert file["step_00000008"].shape == (20, 1, 5, 6)
        assert file["step_00000008"].mean() == pytest.approx(10.0, abs=1.0)
    write_samples(str(tmp_path / "run"), 2, [7, 9], 0, tmp_path / "s.nc")
    with xr.open_dataset(tmp_path / "s.nc") as drawn:
        assert drawn["sample"].sizes == {"sample_index": 2, "row": 7, "space": 9}


@pytest.mark.parametrize("size", [[6], [6, 6]])
def test_that_sizes_are_one_for_every_axis_or_one_for_all(size):
    assert points_along_axes(size, 2) == (6, 6)


def test_that_a_size_too_many_is_refused():
    with pytest.raises(ScoredaError, match="1-D space have 1 sizes, or one for all; got 2"):
        points_along_axes([4, 5], 1)


def test_that_gaps_are_learned_around_if_a_mask_is_asked_for(tmp_path):
    field = write_field(tmp_path / "f.nc", ("time", "lat", "space"), (8, 2, 6))
    field[3, 1, 2:4] = np.nan
    xr.Dataset({"x": (("time", "lat", "space"), field)}).to_netcdf(tmp_path / "f.nc")
    data = {"file": str(tmp_path / "f.nc"), "variable": "x"}
    with pytest.raises(ScoredaError, match=r"f\.nc: `x`: NaN or Inf at index 3\. .*`mask: true`"):
        train_prior(settings({"data": data | {"select": {"time": [2, 8]}}}), tmp_path / "run")
    prior = train_prior(settings({"data": data}, mask=True), tmp_path / "run")
    known = field[:6][np.isfinite(field[:6])].astype(np.float64)
    assert prior.normaliser.mean == pytest.approx(known.mean(), rel=1e-6)
    assert prior.normaliser.std == pytest.approx(known.std(), rel=1e-6)


def test_that_perceptrons_learn_samples_of_so_many_numbers(tmp_path):
    write_field(tmp_path / "f.nc", ("time", "space"), (8, 2))
    data = {"file": str(tmp_path / "f.nc"), "variable": "x"}
    prior = train_prior(settings({"data": data}, {"name": "mlp", "width": 8}), tmp_path / "run")
    assert prior.denoiser.network.channels == 2
    assert prior.sample(3, 2, seed=1, steps=2).shape == (3, 2)


def test_that_the_estimate_asks_the_file_for_its_channels(tmp_path):
    data = {"file": str(tmp_path / "f.nc"), "variable": "x", "channels": "level", "select": {"level": [1, 4]}}
    config = settings({"data": data})
    assert "not there yet" in describe(Training.model_validate(config))
    write_field(tmp_path / "f.nc", ("time", "level", "space"), (4, 5, 6))
    assert sample_shape(config) == (3, 6)
    assert "not there yet" not in describe(Training.model_validate(config))


def test_that_the_estimate_counts_the_windows_and_every_average():
    system = {"system": SYSTEM, "window": {"frames": 3, "stride": 2}}
    text = describe(Training.model_validate(settings(system, ema_extra=[0.5])))
    train = make_samples(settings(system), np.random.default_rng(0).normal(size=(8, 6, 8)).astype(np.float32))[0]
    assert f"# samples: {tuple(train.shape)}" in text
    parameters = sum(p.numel() for p in make_denoiser(settings(system), (3, 8)).parameters())
    assert f"# network: {parameters:,} parameters" in text
    assert f"last.pt {20 * parameters / 1000:.3g} kB" in text


@pytest.mark.slow
@pytest.mark.parametrize("budget", [[], ["--memory", "2GB"]])
def test_that_torchrun_trains_like_one_process(tmp_path, budget):
    (tmp_path / "t.yaml").write_text(dump(settings(steps=16, validate_every=4)), encoding="utf-8")
    shared = dict(OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "scoreda"]
    arguments = ["train", str(tmp_path / "t.yaml"), "--out", str(tmp_path / "two"), "--device", "cpu", *budget]
    done = subprocess.run(command + arguments, env=os.environ | shared, check=True, capture_output=True, text=True)
    assert done.stdout.count("model card") == 1
    train_prior(settings(steps=16, validate_every=4), tmp_path / "one")
    one, two = ([json.loads(row) for row in open(tmp_path / name / "metrics.jsonl")] for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        assert b | {"seconds": 0} == pytest.approx(a | {"seconds": 0}, rel=1e-5)
    assert {p.name for p in (tmp_path / "two").iterdir()} == FILES
