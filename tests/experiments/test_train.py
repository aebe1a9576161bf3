import json

import numpy as np
import pytest
import torch
import xarray as xr

from scoreda.datasets import read_archive, write_archive
from scoreda.diffusion import load_prior
from scoreda.errors import ScoredaError
from scoreda.experiments.config import Training, resolved
from scoreda.experiments.train import make_denoiser, train_prior
from scoreda.models import Lorenz96

SYSTEM = {"model": {"size": 8}, "trajectories": 8, "states": 6, "interval": 2, "spinup": 2.0, "seed": 5}
FILES = {
    "archive.nc", "card.md", "config.yaml", "last.pt", "loss.png", "metrics.csv", "metrics.jsonl", "weights.safetensors",
}  # fmt: skip


def settings(source=None, **train):
    return resolved(
        Training.model_validate(
            {
                "name": "tiny",
                **(source or {"system": SYSTEM}),
                "network": {"width": 4, "blocks": 1, "embedding": 4},
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
