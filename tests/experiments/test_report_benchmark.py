"""The report of a small benchmark that keeps no ensembles: figures over seeds, several runs on one page, old cells."""

import csv

import numpy as np
import pytest
import xarray as xr
from test_report import captions_of, coarse_figures, read, table_of  # noqa: F401 (a fixture)

from scoreda.experiments.config import Experiment
from scoreda.experiments.report import write_report
from scoreda.experiments.report_comparison import summed
from scoreda.experiments.run import run_experiment
from scoreda.experiments.scores import read_rows
from scoreda.verification import distributions, spread_skill_of

METHODS = {"etkf": {"kind": "etkf", "inflation": 1.05}, "oi": {"kind": "oi"}}


def run_into(folder, case="one"):
    settings = {
        "model": {"size": 8}, "observations": {"interval": 0.05, "obs_std": 1.0}, "cycles": 30, "burn_in": 4,
        "members": 6, "lock_level": 0.5, "methods": METHODS, "title": f"Case {case}",
        "expected": {"oi": {"rmse_a": 0.01, "source": "nobody"}}, "floor": {"rmse_a": 0.02, "source": "a bound"},
    }  # fmt: skip
    kept = {"name": "tiny", "seeds": [1, 2, 3], "twin_per_seed": True, "ensembles": False}
    run_experiment(Experiment.model_validate(kept | {"cases": {case: settings}}), folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run_into(tmp_path_factory.mktemp("bench"))


def test_that_a_benchmark_without_ensembles_has_curves_over_seeds_and_calibration(folder):
    page = read(write_report(folder))
    captions = captions_of(page)
    starts = ["RMSE of the analysis: time mean", "RMSE against the size", "RMSE of the analysis in every cycle"]
    assert [caption[: len(start)] for caption, start in zip(captions, starts, strict=False)] == starts
    assert "in grey that of etkf, the best baseline; a run is locked" in captions[2]
    assert [caption.split()[0] for caption in captions[3:]] == ["Calibration", "Rank"]


def test_that_the_table_holds_differences_marks_and_tracking(folder):
    best, other = table_of(read(write_report(folder)), 0)
    assert best["Against best baseline"] == "the baseline" and other["Against best baseline"].startswith("+0.")
    assert other["Expected"] == "0.01 falls short nobody"
    assert {"RMSE while locked", "Time lost", "Cycles to lock on", "Failed runs"} <= set(best)


def test_that_the_floor_is_told_and_stands_beside_every_method(folder):
    page = read(write_report(folder))
    assert "Floor: 0.02 (a bound)." in " ".join(page.text)
    with open(folder / "summary.csv", newline="") as f:
        ratios = [f"{float(row['rmse_a']) / float(row['floor']):.2f}" for row in csv.DictReader(f)]
    assert [row["Over the floor"] for row in table_of(page, 0)] == ratios


def test_that_a_page_of_tables_alone_is_small(folder):
    page, small = read(write_report(folder)), read(write_report(folder, figures=False))
    assert captions_of(page) and not captions_of(small)
    assert [table_of(small, k) for k in (0, 1)] == [table_of(page, k) for k in (0, 1)]


def test_that_the_summary_holds_what_the_page_shows(folder):
    write_report(folder)
    with open(folder / "summary.csv", newline="") as f:
        best, other = csv.DictReader(f)
    rows = [row for row in read_rows(folder / "scores.csv") if row["method"] == best["method"]]
    assert float(best["rmse_a"]) == pytest.approx(np.mean([float(row["rmse_a"]) for row in rows]), rel=1e-4)
    assert (best["seeds"], best["against_baseline"], other["mark"]) == (str(len(rows)), "", "falls short")
    assert float(other["against_baseline"]) > 0
    assert float(best["lock_cycles"]) == pytest.approx(np.mean([float(row["lock_cycles"]) for row in rows]), rel=1e-4)


def test_that_a_folder_of_runs_gets_one_page_with_an_index(tmp_path):
    run_into(tmp_path / "b", "second"), run_into(tmp_path / "a", "first")
    path = write_report(tmp_path)
    page = read(path)
    assert path == tmp_path / "report.html"
    assert page.headings == ["Case first", "Case second", "Provenance"]
    links = [value[1:] for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links == [value for tag, name, value in page.attributes if name == "id"] == ["a-first", "b-second"]
    assert any("0 of 1 meet the expected score" in text for text in page.text)


def test_that_cells_of_an_earlier_version_are_reported_without_what_they_lack(tmp_path):
    folder = run_into(tmp_path)
    for path in folder.glob("one/*/*/series.nc"):
        with xr.open_dataset(path) as found:
            old = found[["rmse_a", "spread_a", "crps_a", "coverage90_a", "chi2"]].load()
        old.to_netcdf(path)
    scores = (folder / "scores.csv").read_text().splitlines()
    (folder / "scores.csv").write_text("\n".join(",".join(line.split(",")[:23]) for line in scores) + "\n")
    page = read(write_report(folder))
    assert len(captions_of(page)) == 3
    assert "Log score" not in table_of(page, 1)[0] and "90 % coverage" in table_of(page, 1)[0]


def test_that_a_method_that_diverged_with_every_seed_is_shown_and_breaks_nothing(tmp_path):
    folder = run_into(tmp_path)
    for path in folder.glob("one/oi/*/series.nc"):
        with xr.open_dataset(path) as found:
            lost = found.load()
        lost["rmse_a"][:] = np.nan
        lost["rank_counts"][:] = 0
        lost["spread_skill"][:] = 0
        lost[["error_spectrum", "spread_spectrum"]] *= np.nan
        lost.to_netcdf(path)
    header, *lines = (line.split(",") for line in (folder / "scores.csv").read_text().splitlines())
    for line in lines[3:]:
        line[header.index("rmse_a")], line[header.index("diverged")] = "", "0"
    (folder / "scores.csv").write_text("\n".join(map(",".join, [header, *lines])) + "\n")
    other = table_of(read(write_report(folder)), 0)[1]
    assert (other["RMSE, analysis"], other["Failed runs"]) == ("–", "3 of 3 3 diverged")


def test_that_distributions_of_runs_of_one_length_sum_to_those_of_all_cycles():
    rng = np.random.default_rng(1)
    truth, E = rng.normal(size=(40, 6)), rng.normal(size=(40, 5, 6))
    run = xr.Dataset({"truth": (("time", "space"), truth), "analysis": (("time", "member", "space"), E)})
    total, whole = (
        summed([distributions(run.isel(time=part)) for part in (slice(20), slice(20, 40))]),
        distributions(run),
    )
    xr.testing.assert_allclose(total, whole.astype("float64"), rtol=1e-12)
    assert spread_skill_of(total).points.sum() == 240
