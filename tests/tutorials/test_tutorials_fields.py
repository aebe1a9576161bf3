import csv
import importlib
import subprocess
import sys
from pathlib import Path

import lorenz96_windows as windows
import numpy as np
import pytest
import torch
import yaml

from scoreda.datasets import Normaliser, read_seed_windows
from scoreda.diffusion import PRESETS, VPConstant, network_from_spec, schedule_from_spec
from scoreda.experiments.config import Training, load_config, resolved
from scoreda.experiments.train import make_denoiser

ROOT = Path(__file__).parents[2]
CONFIGS, TUTORIALS = ROOT / "configs/tutorials", ROOT / "docs/tutorials"


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return importlib.import_module("digits")


def run(name, out):
    """The tables that a tutorial leaves after a quick run."""
    script = [sys.executable, str(TUTORIALS / f"{name}.py"), "--quick", "--out", str(out)]
    done = subprocess.run(script, capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return {path.stem: list(csv.DictReader(path.read_text().splitlines())) for path in out.glob("*.csv")}


# --- windows of Lorenz96 --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_that_the_windows_tutorial_runs_and_the_exact_system_obeys_the_observations(tmp_path):
    tables = run("lorenz96_windows", tmp_path / "out")
    exact = {row["case"]: row for row in tables["conditional"] if row["system"] == "Gaussian"}
    rmse = {case: float(row["rmse"]) for case, row in exact.items()}
    assert rmse["dense"] < 0.5 * rmse["noisy"] < 0.5 * rmse["none"]
    assert rmse["dense"] < rmse["every 2nd"] < rmse["every 4th"] < rmse["none"]
    assert all(0.7 < float(row["coverage90"]) < 1 for row in exact.values())
    spectra = {r["system"]: float(r["value"]) for r in tables["distances"] if r["distance"] == "spectrum (decades)"}
    assert spectra["Gaussian"] < 0.5 * spectra["source"]  # sixty updates teach no spectrum
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {
        "conditional.png", "planes.png", "reverse.png", "statistics.png",
    }  # fmt: skip


@pytest.mark.slow
def test_that_no_training_sees_the_windows_of_the_test(tmp_path):
    known, unseen = windows.make_data(tmp_path, windows.QUICK)
    assert (len(known), len(unseen)) == (180, 20)
    windows.train(windows.OURS, tmp_path, windows.QUICK, len(known))
    settings = yaml.safe_load((tmp_path / windows.OURS / "config.yaml").read_text())
    assert settings["data"]["select"] == {"batch": [0, 180]}
    with read_seed_windows(tmp_path / "windows.nc") as ds:
        np.testing.assert_array_equal(ds["lorenz96_trajectory"][180:], unseen)


def test_that_the_configuration_of_the_source_holds_its_network_and_its_process():
    settings = resolved(load_config(Training, CONFIGS / "lorenz96_windows_seed.yaml"))
    denoiser = make_denoiser(settings, (32, 32))
    assert denoiser.network.spec() == network_from_spec(PRESETS["lorenz96_unet"]).spec()
    assert sum(p.numel() for p in denoiser.network.parameters()) == 921_184
    t, theirs = torch.linspace(0, 1, 1000, dtype=torch.float64), VPConstant(10.0, t_min=1 / 1000)
    torch.testing.assert_close(denoiser.schedule.alpha(t), theirs.alpha(t), rtol=1e-10, atol=0)
    assert float(denoiser.schedule.sigma(t[0])) == pytest.approx(0.0998, abs=1e-4)


def test_that_the_two_configurations_learn_from_the_same_windows():
    ours, source = (resolved(load_config(Training, CONFIGS / f"lorenz96_windows{end}.yaml")) for end in ("", "_seed"))
    for key in ("file", "variable", "split", "select"):
        assert ours["data"][key] == source["data"][key]
    assert ours["valid_fraction"] == source["valid_fraction"]
    assert ours["train"]["steps"] == source["train"]["steps"]


def test_that_the_homogeneous_covariance_is_the_mean_over_all_shifts():
    x = np.random.default_rng(0).normal(size=(7, 3, 8))
    shifted = np.concatenate([np.roll(x, r, axis=-1) for r in range(8)]).reshape(-1, 24)
    expected = shifted.T @ shifted / len(shifted)
    np.testing.assert_allclose(windows.homogeneous_covariance(x), expected, atol=1e-6)


def test_that_the_network_of_the_source_is_asked_about_whole_steps_only():
    settings = resolved(load_config(Training, CONFIGS / "lorenz96_windows_seed.yaml"))
    times = windows.whole_steps(schedule_from_spec(settings["schedule"]), 1.0, 20) * 999
    torch.testing.assert_close(times, times.round(), rtol=0, atol=1e-9)
    assert (times.diff() <= 0).all() and times[0] == 999 and times[-1] == 0


def test_that_observations_are_where_and_as_noisy_as_a_case_says():
    truth = np.random.default_rng(1).normal(size=(40, 32, 32))
    cases = windows.cases(truth)
    counts = {name: int(where.sum()) for name, (where, _) in cases.items()}
    assert counts == {"dense": 1024, "every 2nd": 256, "every 4th": 64, "noisy": 1024, "none": 0}
    where, std = cases["every 4th"]
    y = windows.observe(truth, where, std, seed=2)
    assert np.isfinite(y).sum() == 40 * 64
    assert np.nanstd(y - truth) == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.05)


# --- digits ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_that_the_digits_tutorial_runs_and_knows_real_digits_from_noise(tmp_path):
    pytest.importorskip("sklearn")
    rows = {row["samples"]: row for row in run("digits", tmp_path / "out")["scores"]}
    real = rows.pop("held-out digits")
    assert float(real["accuracy"]) > 0.97
    assert float(real["sw2"]) < 1.5 * float(real["sw2_floor"])
    # Two epochs teach no digit, and every judge says so.
    for row in rows.values():
        assert float(row["nearest"]) > 1.5 * float(real["nearest"])
        assert float(row["sw2"]) > float(row["sw2_floor"])
    with np.load(tmp_path / "out/linear/previews.npz") as previews:
        assert [previews[name].shape for name in previews.files] == [(10, 1, 8, 8)] * 2  # one after every epoch


def test_that_an_epoch_of_digits_is_what_lies_between_previews():
    settings = resolved(load_config(Training, CONFIGS / "digits.yaml"))
    images = settings["data"]["select"]["sample"][1] * (1 - settings["valid_fraction"])
    assert settings["train"]["validate_every"] == round(images / settings["train"]["batch"])


def test_that_the_digits_file_holds_images_between_minus_one_and_one_in_random_order(digits, tmp_path):
    from sklearn.datasets import load_digits

    images, labels = digits.write_digits(tmp_path / "digits.nc")
    assert (images.min(), images.max(), images.shape) == (-1, 1, (1797, 8, 8))
    assert not np.array_equal(labels, load_digits().target)
    first = int(np.flatnonzero((load_digits().images / 8 - 1 == images[0]).all(axis=(1, 2)))[0])
    assert labels[0] == load_digits().target[first]


def test_that_mixing_steps_move_straight_to_what_the_network_sees(digits, monkeypatch):
    seen = []
    monkeypatch.setattr(digits, "clean_image", lambda network, x: (seen.append(x), torch.full_like(x, 0.25))[1])
    np.testing.assert_allclose(digits.mix(None, 3, 4, seed=0), 0.25)
    start = seen[0] - 0.25
    for k, x in enumerate(seen):
        torch.testing.assert_close(x - 0.25, start * (1 - k / 4))


def test_that_conditions_are_one_plane_per_class(digits):
    condition = digits.planes(np.array([3, 0]))
    assert condition.shape == (2, 10, 8, 8)
    assert (condition[0, 3] == 1).all() and condition[0].sum() == 64 and (condition[1, 0] == 1).all()


def test_that_a_clipped_denoiser_answers_with_images(digits):
    normaliser = Normaliser(-0.4, 0.75)

    class Wild:
        schedule = None

        def __call__(self, x_t, t):
            return 100 * x_t

    x = normaliser.invert(digits.Clipped(Wild(), normaliser)(torch.tensor([-1.0, 0.001, 1.0]), None))
    torch.testing.assert_close(x, torch.tensor([-1.0, -0.325, 1.0]))
