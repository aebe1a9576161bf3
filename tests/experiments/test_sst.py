import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sst
import torch
import xarray as xr
import yaml

from scoreda.assimilation import OptimalInterpolation
from scoreda.diffusion import EDM, GaussianDenoiser, load_prior
from scoreda.experiments.config import Training, load_config, resolved
from scoreda.experiments.train import train_prior

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs/examples/sst.py"
LONGITUDES, LATITUDES = 12, 4


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The shipped configuration on a small file of the same layout, land on either side of the part cut out."""
    folder = tmp_path_factory.mktemp("sst")
    rng = np.random.default_rng(3)
    dates = np.arange("2006-04", "2010-10", dtype="datetime64[M]").astype("datetime64[ns]")
    field = np.full((54, LATITUDES, 20), np.nan, dtype=np.float32)
    waves = np.cos(np.arange(LONGITUDES) / 4 + rng.normal(size=(54, 1, 1)))
    field[:, :, 2 : 2 + LONGITUDES] = 300 + 2 * waves + 0.1 * rng.normal(size=(54, LATITUDES, LONGITUDES))
    coords = {"time": dates, "latitude": np.linspace(-1, 1, LATITUDES), "longitude": np.arange(20.0)}
    ds = xr.Dataset({"surface_temperature": (("time", "latitude", "longitude"), field)}, coords)
    ds.to_netcdf(folder / "f.nc")
    settings = yaml.safe_load((ROOT / "configs/sst.yaml").read_text())
    settings["data"] |= {"file": str(folder / "f.nc"), "select": {"time": [0, 42], "longitude": [2, 2 + LONGITUDES]}}
    settings["network"] |= {"width": 4, "blocks": 1, "kernel": 3, "embedding": 4}
    settings["train"] |= {"steps": 40, "batch": 32, "warmup": 4, "validate_every": 40}
    (folder / "sst.yaml").write_text(yaml.safe_dump(settings))
    return folder / "sst.yaml"


@pytest.fixture(scope="module")
def field(config):
    return sst.read_months(resolved(load_config(Training, config)))[0]


@pytest.fixture(scope="module")
def archive(field):
    return sst.Archive(field.values[:42])


def test_that_the_chain_runs_from_a_netcdf_file_to_a_report(config, tmp_path):
    train_prior(resolved(load_config(Training, config)), tmp_path / "prior")
    sst.main(tmp_path, config, draws=2)
    with open(tmp_path / "scores.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    rmse = {(row["method"], row["draw"]): float(row["rmse"]) for row in rows}
    assert len(rmse) == 18
    assert rmse["OI", "0"] < rmse["nothing observed", "0"]
    assert rmse["OI", "0"] != rmse["OI", "1"]
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == 2
    assert "score filter" in page


def test_that_the_prior_and_the_methods_learn_from_the_same_anomalies(config, archive, tmp_path):
    prior = train_prior(resolved(load_config(Training, config)), tmp_path)
    assert prior.normaliser.std == pytest.approx(archive.months[:36].std(), rel=1e-5)
    assert load_prior(tmp_path).denoiser.network.settings["circular"] is False


def test_that_withheld_months_change_nothing_that_methods_learn_from(config, field, tmp_path):
    settings = resolved(load_config(Training, config))
    with xr.open_dataset(settings["data"]["file"]) as ds:
        other = ds.load().copy(deep=True)
    other["surface_temperature"][42:] += 5
    other.to_netcdf(tmp_path / "other.nc")
    changed, train = sst.read_months(settings | {"data": settings["data"] | {"file": str(tmp_path / "other.nc")}})
    np.testing.assert_array_equal(changed[:train], field[:train])
    np.testing.assert_allclose(changed[train:] - field[train:], 5, atol=1e-4)


def test_that_a_tenth_of_the_points_is_observed_with_the_errors_that_are_claimed():
    truth = np.random.default_rng(1).normal(size=(40, 500))
    obs = sst.observe(truth, np.random.default_rng(2))["obs"].values
    assert (np.isfinite(obs).sum(1) == 50).all()
    errors = (obs - truth)[np.isfinite(obs)]
    assert errors.std() == pytest.approx(sst.OBS_STD, rel=0.05)


def test_that_rows_are_the_longitudes_of_one_latitude(field):
    states = field.values.reshape(54, -1)
    rows = sst.rows_of(states, LATITUDES)
    np.testing.assert_array_equal(rows[5 * LATITUDES + 2], field.values[5, :, 2])
    np.testing.assert_array_equal(sst.states_of(rows, LATITUDES), states)


def test_that_damped_persistence_keeps_the_climate(archive):
    model = sst.damped_persistence(archive, np.random.default_rng(4))
    E = model.step(np.random.default_rng(5).normal(size=(4000, model.size)) @ sst.root_of(archive.climate.cov).T)
    np.testing.assert_allclose(np.cov(E.T), archive.climate.cov, atol=6 * archive.climate.cov.max() / 4000**0.5)


def test_that_persistence_is_the_regression_of_an_autoregressive_series():
    rng, series = np.random.default_rng(6), np.zeros((400, 5, 4))
    for k in range(1, 400):
        series[k] = 0.7 * series[k - 1] + rng.normal(size=(5, 4))
    assert sst.Archive(series).persistence == pytest.approx(0.7, abs=0.04)


def test_that_scores_count_unobserved_points_alone():
    truth = np.random.default_rng(7).normal(size=(3, 50))
    twin = sst.observe(truth, np.random.default_rng(8))
    observed = np.isfinite(twin["obs"].values)
    analysis = np.where(observed, 99.0, truth + 0.25)[:, None].repeat(4, 1)
    assert sst.scores(analysis, twin)["rmse"] == pytest.approx(0.25)


def test_that_optimal_interpolation_is_the_closed_form_at_the_observed_points(archive, field):
    twin = sst.observe(field.values[42:].reshape(12, -1), np.random.default_rng(9))
    run = sst.cycled(lambda model: OptimalInterpolation(model, archive.climate), 30)
    analysis = run(archive, twin, np.random.default_rng(10))
    y, B = twin["obs"].values[3], archive.climate.cov
    seen = np.flatnonzero(np.isfinite(y))
    gain = B[:, seen] @ np.linalg.inv(B[np.ix_(seen, seen)] + sst.OBS_STD**2 * np.eye(len(seen)))
    np.testing.assert_allclose(analysis[3].mean(0), gain @ y[seen], atol=1e-4)


def test_that_the_guidance_is_exact_for_a_gaussian_prior():
    rng = np.random.default_rng(11)
    A = torch.as_tensor(rng.normal(size=(6, 6)))
    C, R, s = A @ A.T + 0.1 * torch.eye(6, dtype=torch.float64), 0.3, 1.7
    exact = GaussianDenoiser(torch.zeros(6, dtype=torch.float64), C, EDM())
    x_t, y = (torch.as_tensor(rng.normal(size=(2, 6))) for _ in range(2))
    y[0, [0, 3]] = torch.nan
    t = EDM().time(torch.tensor(s, dtype=torch.float64))
    guided = sst.GaussianMoments(exact, C, y, R)(x_t[:, None], t)[:, 0]
    for k in range(2):
        seen = torch.isfinite(y[k]).double()
        precision = torch.linalg.inv(C) + torch.eye(6) / s**2 + torch.diag(seen) / R
        expected = torch.linalg.solve(precision, x_t[k] / s**2 + seen * y[k].nan_to_num() / R)
        torch.testing.assert_close(guided[k], expected, rtol=1e-8, atol=1e-8)


def test_that_homogeneous_rows_depend_on_distance_alone(archive):
    C = archive.homogeneous_rows.cov
    np.testing.assert_allclose(C[0, 2 * LATITUDES], C[3 * LATITUDES + 1, 5 * LATITUDES + 1])
    assert C[0, 1] == 0
    assert C[0, 0] == pytest.approx((archive.months**2).mean())


@pytest.mark.slow
def test_that_make_sst_trains_and_scores_on_the_real_file(tmp_path):
    iris_sample_data = pytest.importorskip("iris_sample_data")
    source = f"data.file={iris_sample_data.path}/ostia_monthly.nc"
    settings = resolved(load_config(Training, ROOT / "configs/sst.yaml", [source]))
    train_prior(settings, tmp_path / "prior")
    (tmp_path / "sst.yaml").write_text(yaml.safe_dump(settings))
    command = [
        sys.executable,
        str(SCRIPT),
        "--out",
        str(tmp_path),
        "--config",
        str(tmp_path / "sst.yaml"),
        "--draws",
        "1",
    ]
    subprocess.run(command, check=True)
    with open(tmp_path / "scores.csv", newline="") as f:
        rmse = {row["method"]: float(row["rmse"]) for row in csv.DictReader(f)}
    assert rmse["OI"] < 0.3 < rmse["OI, rows apart"] < 0.45
    assert rmse["score filter"] < 0.3
