"""`scoreda train --memory`: what a training takes is counted before it runs, and it stays within a budget."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from scoreda.cli import main
from scoreda.diffusion.training import footprint
from scoreda.experiments import training_budget
from scoreda.experiments.config import Training, resolved
from scoreda.experiments.train import train_prior
from scoreda.experiments.training_budget import training_plan
from scoreda.experiments.yaml_source import dump

SYSTEM = {"system": {"model": {"size": 40}, "trajectories": 40, "states": 5, "spinup": 1.0}}
NETWORK = {"width": 4, "blocks": 1, "embedding": 4}
WIDE = {"network": {"width": 64, "blocks": 1, "embedding": 4}}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Files of some kilobytes are small beside what is read of a file at a time, so that is not counted here."""
    monkeypatch.setattr(training_budget, "PART_BYTES", 0.0)


def settings(source=SYSTEM, train=None, **rest):
    how = {"steps": 6, "batch": 8, "warmup": 2, "validate_every": 3} | (train or {})
    return resolved(Training.model_validate({"name": "t", "network": NETWORK, "train": how} | source | rest))


def just_too_little(config):
    """Return the bytes that hold all but one of the largest plan, in which samples are in memory."""
    return int(training_plan(config).bytes) - 1


def file_of(folder, data=None, **rest):
    field = np.random.default_rng(2).normal(10.0, 3.0, size=(480, 2, 40)).astype(np.float32)
    xr.Dataset({"x": (("time", "lat", "space"), field)}).to_netcdf(folder / "f.nc")
    return {"data": {"file": str(folder / "f.nc"), "variable": "x"} | (data or {})} | rest


class Exponentials(nn.Module):
    """A denoiser whose loss makes a known number of tensors of the size of the samples."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def loss(self, x, ratio, eps, norm, known):
        return (self.weight * x).exp().exp().exp().flatten(1).sum(1)


@pytest.mark.parametrize("number", [3, 48])
def test_that_tensors_are_counted_for_as_long_as_they_are_held(number):
    each = 4 * number * 5 * 100
    scalars = 5 * 4 * (number + 1)  # a loss for each, and their mean, and what leads back from there
    assert 2 * each <= footprint(Exponentials(), (5, 100), number, train=False) <= 2 * each + scalars
    assert 4 * each <= footprint(Exponentials(), (5, 100), number) <= 4 * each + scalars  # one of them a gradient


def test_that_weights_are_as_they_were_after_counting():
    from scoreda.experiments.train import make_denoiser

    denoiser = make_denoiser(settings())
    footprint(denoiser, (1, 40), 4)
    assert all(weights.device.type == "cpu" and weights.grad is None for weights in denoiser.parameters())


def test_that_less_memory_means_samples_on_disk_then_batches_in_parts_then_refusal():
    config = settings(train={"batch": 16}, **WIDE)
    whole = training_plan(config)
    assert (whole.held, whole.at_once) == (True, None)
    disk = training_plan(config, whole.bytes - 1)
    assert (disk.held, disk.at_once) == (False, None)
    sizes, memory = [], disk.bytes - 1
    with pytest.raises(ValueError, match=r"one by one\. It takes at most .* Give --memory \d+MB"):
        while True:
            plan = training_plan(config, memory)
            assert plan.bytes <= memory
            sizes.append(plan.at_once)
            memory = plan.bytes - 1
    assert sizes == sorted(sizes, reverse=True)
    assert set(sizes) >= {8, 4, 2}


def test_that_processes_share_the_activations_of_a_batch():
    config = settings(train={"batch": 64}, **WIDE)
    one, four = (training_plan(config, processes=number).training for number in (1, 4))
    assert four["activations and gradients"] < 0.4 * one["activations and gradients"]


def test_that_a_training_in_parts_is_the_training_to_rounding(tmp_path, monkeypatch):
    config, rows = settings(train={"batch": 16}, valid_fraction=0.25), []
    for name, at_once in {"whole": None, "parts": 3}.items():
        plan = training_plan(config)._replace(at_once=at_once)
        monkeypatch.setattr("scoreda.experiments.train.training_plan", lambda *_, plan=plan: plan)
        train_prior(config, tmp_path / name, memory=1e12)
        rows.append(np.genfromtxt(tmp_path / name / "metrics.csv", delimiter=",", names=True))
    for column in ("loss", "valid"):
        np.testing.assert_allclose(rows[0][column], rows[1][column], rtol=1e-4)


SOURCES = {
    "system": lambda folder: SYSTEM,
    "windows of a system": lambda folder: SYSTEM | {"window": {"frames": 3}},
    "file": file_of,
    "windows of a file": lambda folder: file_of(folder, window={"frames": 3, "stride": 2}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_that_training_within_a_budget_reads_from_disk_and_learns_the_same(tmp_path, capsys, name):
    config = settings(SOURCES[name](tmp_path))
    (tmp_path / "c.yaml").write_text(dump(config))
    words, losses = ["train", str(tmp_path / "c.yaml"), "--quiet", "--device", "cpu", "--out"], []
    budgets = {"memory": [], "disk": ["--memory", str(just_too_little(config))]}
    for where, budget in budgets.items():
        assert main([*words, str(tmp_path / where), *budget]) == 0
        losses.append(np.genfromtxt(tmp_path / where / "metrics.csv", delimiter=",", names=True)["valid"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert main([*words, "x", "--dry-run", *budgets["disk"]]) == 0
    assert "stay on disk" in capsys.readouterr().out
    assert main([*words, "x", "--dry-run", "--memory", "8GB"]) == 0
    assert "stay on disk" not in capsys.readouterr().out


@pytest.mark.parametrize(("key", "data", "train"), [("harmonics", {"harmonics": 1}, {}), ("mask", {}, {"mask": True})])
def test_that_what_takes_the_whole_file_is_refused_where_it_does_not_fit(tmp_path, capsys, key, data, train):
    config = settings(file_of(tmp_path, data), train)
    (tmp_path / "c.yaml").write_text(dump(config))
    words = ["train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out"), "--memory"]
    assert main([*words, str(int(sum(training_plan(config).making.values())) - 1)]) == 2
    assert re.search(rf"`\w+\.{key}` = .* takes all samples in memory.* leave `{key}` out", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_that_a_dry_run_tells_parts_and_what_for(tmp_path, capsys):
    config = settings(train={"batch": 64}, **WIDE)
    (tmp_path / "c.yaml").write_text(dump(config))
    memory = training_plan(config, training_plan(config, just_too_little(config)).bytes - 1).bytes
    assert main(["train", str(tmp_path / "c.yaml"), "--out", "x", "--dry-run", "--memory", str(int(memory) + 1)]) == 0
    said = capsys.readouterr().out
    assert "# batches: in 2 parts of up to 32 samples, as with train.accumulate=2" in said
    assert re.search(r"# memory: at most .* while it is trained: 600 MB of libraries, .* of activations", said)


PEAK = """
import json, sys
from scoreda.experiments.train import train_prior
train_prior(json.load(open(sys.argv[1])), sys.argv[2], memory=float(sys.argv[3]))
# Not getrusage: its peak begins at that of the process that started this one.
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("memory", [2e9, 1.2e9, 0.85e9])
def test_that_the_peak_of_a_training_is_between_half_of_the_estimate_and_the_estimate(tmp_path, memory):
    system = {"system": {"model": {"size": 400}, "trajectories": 400, "states": 100, "spinup": 1.0}}
    config = settings(system, {"batch": 128}, network={"width": 64, "blocks": 4, "embedding": 16}, valid_fraction=0.01)
    (tmp_path / "c.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", PEAK, str(tmp_path / "c.json"), str(tmp_path / "out"), str(memory)]
    threads = dict(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
    done = subprocess.run(command, env=os.environ | threads, check=True, capture_output=True, text=True)
    estimate = training_plan(config, memory).bytes
    assert estimate / 2 <= int(done.stdout.split()[-1]) <= estimate <= memory
