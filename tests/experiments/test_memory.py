"""Budgets of memory on the command line: parsed, kept to, and told before anything runs."""

import re

import numpy as np
import pytest
import torch

from scoreda.cli import main
from scoreda.datasets import Normaliser, open_dataset
from scoreda.diffusion import EDM, MLP, ConvNet1d, KarrasDenoiser, Prior, load_prior, save_prior
from scoreda.errors import ScoredaError
from scoreda.experiments.memory import draws_unlimited, draws_within, parse_size


def make_prior():
    network, generator = ConvNet1d(width=64, blocks=1, kernel=3), torch.Generator().manual_seed(1)
    for weights in network.parameters():
        weights.data = 0.1 * torch.randn(weights.shape, generator=generator)
    return Prior(KarrasDenoiser(network, EDM()), Normaliser(0.0, 1.0))


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("512 MiB", 512 * 2**20), ("2.5e9", 25 * 10**8), ("1.5gb", 15 * 10**8), ("7", 7)],
)
def test_that_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "8 GB of it", "-8GB", "8XB", "1.2.3GB", "."])
def test_that_other_words_are_refused(text):
    with pytest.raises(ScoredaError, match="no amount of memory"):
        parse_size(text)


@pytest.mark.parametrize("memory", [470e6, 550e6, 2e9, 1e12])
def test_that_a_plan_stays_within_its_budget(memory):
    draws = draws_within(load_prior("lorenz96"), 20, (4000,), int(memory))
    told = float(re.search(r"at most ([\d.]+) (MB|GB)", "\n".join(draws.lines()))[1])
    unit = re.search(r"at most [\d.]+ (MB|GB)", "\n".join(draws.lines()))[1]
    assert told * {"MB": 1e6, "GB": 1e9}[unit] <= memory * 1.005


def test_that_samples_within_a_budget_are_the_samples(tmp_path, capsys):
    save_prior(tmp_path, make_prior())
    words = ["sample", str(tmp_path), "--number", "20", "--size", "160", "--quiet", "--device", "cpu", "--out"]
    assert main([*words, str(tmp_path / "all.nc")]) == 0
    assert main([*words, str(tmp_path / "tiled.nc"), "--memory", "450.527MB"]) == 0
    main([*words, str(tmp_path / "none.nc"), "--memory", "450.527MB", "--dry-run"])
    said = capsys.readouterr().out
    assert "16 at a time" in said
    assert int(re.search(r"(\d+) tiles", said)[1]) > 1
    assert not (tmp_path / "none.nc").exists()
    with open_dataset(tmp_path / "all.nc") as whole, open_dataset(tmp_path / "tiled.nc") as tiled:
        np.testing.assert_allclose(tiled["sample"], whole["sample"], atol=1e-3)


def test_that_without_a_budget_the_network_is_told_as_a_whole_whatever_it_is(tmp_path, capsys):
    width, layers = 16, 2
    save_prior(tmp_path, Prior(KarrasDenoiser(MLP(8, width, layers), EDM()), Normaliser(0.0, 1.0)))
    words = ["sample", str(tmp_path), "--number", "20", "--size", "8", "--out", str(tmp_path / "f.nc")]
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "# states: (20, 1, 8), 20 at a time\n# network: as a whole\n" in said
    assert float(re.search(r"([\d.]+) kB of the network", said)[1]) * 1e3 >= 4 * 20 * width * layers
    assert main([*words, "--dry-run", "--memory", "8GB"]) == 2
    assert "cannot be evaluated in tiles" in capsys.readouterr().err
    assert main([*words, "--quiet", "--device", "cpu"]) == 0


def test_that_without_a_budget_a_local_network_is_counted_as_with_a_large_one(monkeypatch):
    monkeypatch.setattr("scoreda.diffusion.networks.tiled.IN_CACHE", 10**15)  # within a budget pieces are no larger
    prior = load_prior("lorenz96")
    without, within = draws_unlimited(prior, 2000, (40,)), draws_within(prior, 2000, (40,), 10**15)
    assert without == within._replace(for_network=0, tiling=None)


def test_that_states_that_do_not_fit_are_refused_with_what_they_take(tmp_path, capsys):
    words = ["sample", "lorenz96", "--number", "1000", "--size", "100000", "--out", str(tmp_path / "f.nc")]
    assert main([*words, "--memory", "1GB"]) == 2
    assert "2.46 GB" in capsys.readouterr().err
