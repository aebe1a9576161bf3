import csv
import hashlib

import numpy as np
import pytest
import xarray as xr

from scoreda.datasets import Normaliser, simulate
from scoreda.diffusion import EDM, ConvNet1d, KarrasDenoiser, Prior, load_prior, save_prior
from scoreda.errors import ScoredaError
from scoreda.experiments.cells import generator, run_cell
from scoreda.experiments.config import Experiment
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.run import CellsFailed, pinned, run_experiment, score_folder
from scoreda.experiments.scores import COLUMNS, text_table
from scoreda.experiments.sweep import Sweep
from scoreda.experiments.twins import make_twins
from scoreda.models import Lorenz96
from scoreda.observations import GaussianError, Identity, Network

LETKF = {"kind": "letkf", "radius": 2.0}
ENKF = {"kind": "enkf", "inflation": 1.05}


def experiment(methods, seeds=(1,), initial="truth", prior="lorenz96", expected=None, **observations):
    case = {
        "model": {"size": 8},
        "observations": {"interval": 0.05, "obs_std": 1.0} | observations,
        "initial": {"kind": initial},
        "cycles": 10,
        "burn_in": 4,
        "members": 5,
        "methods": methods,
        "expected": expected or {},
    }
    return Experiment.model_validate(
        {"name": "tiny", "seeds": list(seeds), "prior": str(prior), "cases": {"one": case}, "twin_seed": 3}
    )


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.reader(f))


def files_of(folder):
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def analysis_of(folder, method, seed=1):
    with xr.open_dataset(RunFolder(folder).analysis("one", method, seed)) as ds:
        return ds.load()


@pytest.fixture
def tiny_prior(tmp_path):
    folder = tmp_path / "prior"
    folder.mkdir()
    save_prior(folder, Prior(KarrasDenoiser(ConvNet1d(width=4, blocks=1, embedding=4), EDM()), Normaliser(2.3, 3.6)))
    return folder


def test_that_a_run_has_the_documented_layout_and_columns(tmp_path):
    config = experiment(
        {"letkf": LETKF, "oi": {"kind": "oi"}}, (1, 2), expected={"oi": {"rmse_a": 0.9, "source": "me"}}
    )
    rows = run_experiment(config, tmp_path)
    cells = [("letkf", 1), ("letkf", 2), ("oi", 1), ("oi", 2)]
    files = ("analysis.nc", "scores.json")
    expected = {f"one/{method}/seed{seed}/{name}" for method, seed in cells for name in files}
    expected |= {"config.yaml", "scores.csv", "timings.csv", "one/twin.nc"}
    assert {p.as_posix() for p in files_of(tmp_path)} == expected
    header, *lines = rows_of(tmp_path / "scores.csv")
    assert ",".join(header) == (
        "case,method,seed,members,rmse_a,rmse_f,spread_a,crps_a,coverage90_a,chi2,diverged,cycles,expected,source,"
        "spread_f,tuning,lock_cycles,network_evals,model_steps,rmse_rms_a,rmse_locked,lost_fraction,relock_cycles,"
        "bias_a,crps_f,log_score_a,energy_score_a,coverage50_a,rmse_a_se,spread_skill_a,rank_flatness,desroziers_r,"
        "ess,pit_distance,rmse_a_low,rmse_a_high,expected_locked"
    )
    assert [line[:4] for line in lines] == [["one", method, str(seed), "5"] for method, seed in cells]
    assert [line[header.index("expected")] for line in lines] == ["", "", "0.9", "0.9"]
    assert [line[header.index("source")] for line in lines] == ["", "", "me", "me"]
    assert [(row["method"], row["seed"]) for row in rows] == cells


def test_that_scores_are_those_of_the_analysis_after_the_burn_in(tmp_path):
    (row,) = run_experiment(experiment({"letkf": LETKF}), tmp_path)
    run = analysis_of(tmp_path, "letkf")
    error = run["analysis"].values[4:].astype(np.float64).mean(axis=1) - run["truth"].values[4:]
    assert row["rmse_a"] == pytest.approx(np.sqrt((error**2).mean(axis=1)).mean(), rel=1e-12)
    assert (row["cycles"], row["diverged"], row["model_steps"]) == (6, -1, 10 * 5)


def test_that_two_runs_give_the_same_scores_to_the_byte(tmp_path):
    config = experiment({"letkf": LETKF, "enkf": ENKF}, missing=0.2)
    for folder in ("a", "b"):
        run_experiment(config, tmp_path / folder)
    assert (tmp_path / "a/scores.csv").read_bytes() == (tmp_path / "b/scores.csv").read_bytes()


def test_that_a_cell_does_not_depend_on_the_other_cells_or_their_order(tmp_path):
    run_experiment(experiment({"letkf": LETKF, "enkf": ENKF}, (1, 2)), tmp_path / "a")
    run_experiment(experiment({"oi": {"kind": "oi"}, "enkf": ENKF}, (2,)), tmp_path / "b")
    a, b = (analysis_of(tmp_path / folder, "enkf", 2) for folder in "ab")
    np.testing.assert_array_equal(a["analysis"], b["analysis"])
    np.testing.assert_array_equal(a["obs"], b["obs"])


def test_that_methods_share_twin_and_start_but_not_their_noise(tmp_path):
    free = {"kind": "free_run"}
    run_experiment(experiment({"a": free, "b": free, "c": ENKF, "d": ENKF}), tmp_path)
    a, b, c, d = (analysis_of(tmp_path, method) for method in "abcd")
    np.testing.assert_array_equal(a["prior"], b["prior"])
    np.testing.assert_array_equal(a["prior"][0], c["prior"][0])
    np.testing.assert_array_equal(a["truth"], c["truth"])
    assert not np.array_equal(c["analysis"][0], d["analysis"][0])


def test_that_seeds_and_names_give_independent_generators():
    draws = {generator(*key).integers(2**62) for key in [(1, "a"), (2, "a"), (1, "b"), (1, "a", "b"), (1, "b", "a")]}
    assert len(draws) == 5
    assert generator(1, "a").integers(2**62) == generator(1, "a").integers(2**62)


def test_that_the_twin_is_the_one_that_simulate_makes(tmp_path):
    run_experiment(experiment({"letkf": LETKF}), tmp_path)
    model = Lorenz96(8)
    twin = simulate(model, Network(Identity(8), GaussianError(1.0, 8), 0.05), 10, seed=3)
    np.testing.assert_array_equal(analysis_of(tmp_path, "letkf")["truth"], twin["truth"])


def test_that_finished_cells_are_skipped_and_missing_ones_run(tmp_path):
    config = experiment({"letkf": LETKF, "enkf": ENKF})
    run_experiment(config, tmp_path)
    scores = (tmp_path / "scores.csv").read_bytes()
    before = files_of(tmp_path)
    lost = RunFolder(tmp_path).analysis("one", "enkf", 1)
    lost.unlink()
    run_experiment(config, tmp_path)
    after = files_of(tmp_path)
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed == {"analysis.nc", "scores.json", "scores.csv", "timings.csv"}
    assert (tmp_path / "scores.csv").read_bytes() == scores
    assert len(rows_of(tmp_path / "timings.csv")) == 3


def test_that_another_configuration_is_refused_and_nothing_is_touched(tmp_path):
    run_experiment(experiment({"letkf": LETKF}), tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(
        ScoredaError, match=r"another configuration: `cases\.one\.methods\.letkf\.radius` differs.*--over"
    ):
        run_experiment(experiment({"letkf": LETKF | {"radius": 3.0}}), tmp_path)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("tune", [{}, {"tune": {"bandwidth": [0.1, 0.3]}}], ids=["as written", "tuned"])
def test_that_a_method_that_has_never_finished_may_be_changed_and_taken_out(tmp_path, tune):
    refused = {"kind": "optimal_pf"} | tune  # the model has no errors to propose with
    with pytest.raises(CellsFailed, match="additive"):
        run_experiment(experiment({"letkf": LETKF, "pf": refused}), tmp_path)
    before = files_of(tmp_path / "one")
    rows = run_experiment(experiment({"letkf": LETKF, "pf": {"kind": "bootstrap_pf"} | tune}), tmp_path)
    assert {row["method"] for row in rows} == {"letkf", "pf"}
    assert before.items() <= files_of(tmp_path / "one").items()
    with pytest.raises(ScoredaError, match="methods.pf"):
        run_experiment(experiment({"letkf": LETKF}), tmp_path)


def test_that_a_method_that_has_never_finished_may_be_taken_out(tmp_path):
    with pytest.raises(CellsFailed, match="1 cells failed, all others are finished"):
        run_experiment(experiment({"letkf": LETKF, "pf": {"kind": "optimal_pf"}}), tmp_path)
    assert {row["method"] for row in run_experiment(experiment({"letkf": LETKF}), tmp_path)} == {"letkf"}


def test_that_overwriting_replaces_the_run_and_nothing_else(tmp_path):
    (tmp_path / "notes.txt").write_text("keep")
    run_experiment(experiment({"letkf": LETKF}), tmp_path)
    run_experiment(experiment({"enkf": ENKF}), tmp_path, overwrite=True)
    assert {p.name for p in (tmp_path / "one").iterdir()} == {"enkf", "twin.nc"}
    assert (tmp_path / "notes.txt").read_text() == "keep"


def test_that_a_crafted_configuration_cannot_remove_other_folders(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "twin.nc").touch()
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("cases: {../other: {}}\n", encoding="utf-8")
    RunFolder(run).clear()
    assert (other / "twin.nc").is_file()
    assert not (run / "config.yaml").exists()


def test_that_a_folder_is_scored_again_from_its_files_alone(tmp_path):
    run_experiment(experiment({"letkf": LETKF}), tmp_path)
    scores = (tmp_path / "scores.csv").read_bytes()
    (tmp_path / "scores.csv").unlink()
    score_folder(tmp_path)
    assert (tmp_path / "scores.csv").read_bytes() == scores
    with pytest.raises(ScoredaError, match="holds no run"):
        score_folder(tmp_path / "one")


def test_that_a_run_remembers_its_prior_and_refuses_another(tmp_path, tiny_prior):
    config = experiment({"csf": {"kind": "coupled_score_filter", "radius": 2.0}}, prior=tiny_prior)
    run_experiment(config, tmp_path / "run")
    with open(tmp_path / "run/config.yaml", encoding="utf-8") as f:
        digest = next(line.split()[1] for line in f if line.startswith("prior_sha256"))
    assert digest == pinned(config)[0].prior_sha256
    network = ConvNet1d(width=4, blocks=1, embedding=4)
    network.leave.weight.data += 1
    save_prior(tiny_prior, Prior(KarrasDenoiser(network, EDM()), Normaliser(2.3, 3.6)))
    with pytest.raises(ScoredaError, match="another configuration: `prior_sha256` differs"):
        run_experiment(config, tmp_path / "run")
    with pytest.raises(ScoredaError, match=f"asks for {digest}"):
        pinned(config.model_copy(update={"prior_sha256": digest}))


def test_that_a_prior_in_other_units_is_another_prior(tmp_path, tiny_prior):
    config = experiment({"csf": {"kind": "coupled_score_filter", "radius": 2.0}}, prior=tiny_prior)
    run_experiment(config, tmp_path / "run")
    save_prior(tiny_prior, Prior(load_prior(tiny_prior).denoiser, Normaliser(0.0, 50.0)))
    with pytest.raises(ScoredaError, match="another configuration: `prior_sha256` differs"):
        run_experiment(config, tmp_path / "run")


def test_that_a_cell_refuses_a_prior_that_has_changed_since_the_run_began(tmp_path, tiny_prior):
    config = pinned(experiment({"csf": {"kind": "coupled_score_filter", "radius": 2.0}}, prior=tiny_prior))[0]
    make_twins(config, RunFolder(tmp_path / "run"))
    (cell,) = Sweep(config, RunFolder(tmp_path / "run")).cells
    save_prior(tiny_prior, Prior(load_prior(tiny_prior).denoiser, Normaliser(0.0, 50.0)))
    assert f"the run began with {config.prior_sha256}" in run_cell(cell).failure
    assert not cell.result.exists()


def test_that_the_first_method_with_a_prior_can_be_added(tmp_path, tiny_prior):
    methods = {"letkf": LETKF}
    run_experiment(experiment(methods), tmp_path / "run")
    before = (tmp_path / "run/one/letkf/seed1/analysis.nc").stat().st_mtime_ns
    methods |= {"csf": {"kind": "coupled_score_filter", "radius": 2.0}}
    rows = run_experiment(experiment(methods, prior=tiny_prior), tmp_path / "run")
    assert [row["method"] for row in rows] == ["letkf", "csf"]
    assert (tmp_path / "run/one/letkf/seed1/analysis.nc").stat().st_mtime_ns == before


def test_that_observations_that_changed_are_not_mixed_with_a_run_of_the_earlier_ones(tmp_path):
    write_observations(tmp_path / "obs.nc")
    config = experiment({"letkf": LETKF}, initial="climatology", file=str(tmp_path / "obs.nc"))
    run_experiment(config, tmp_path / "run")
    run_experiment(config, tmp_path / "run")
    write_observations(tmp_path / "obs.nc", seed=5)
    with pytest.raises(ScoredaError, match="obs.nc has changed since"):
        run_experiment(config, tmp_path / "run")
    run_experiment(config, tmp_path / "run", overwrite=True)
    with xr.open_dataset(tmp_path / "obs.nc") as ds:
        np.testing.assert_array_equal(analysis_of(tmp_path / "run", "letkf")["obs"], ds["obs"])


def write_observations(path, cycles=10, size=8, seed=4, **attrs):
    values = np.random.default_rng(seed).normal(size=(cycles, size))
    ds = xr.Dataset({"obs": (("time", "obs"), values)}, {"time": 0.05 * np.arange(1, cycles + 1)}, attrs)
    ds.to_netcdf(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_that_observations_of_a_file_are_assimilated_without_a_truth(tmp_path):
    before = write_observations(tmp_path / "obs.nc", cycles=12)
    config = experiment({"letkf": LETKF}, initial="climatology", file=str(tmp_path / "obs.nc"))
    (row,) = run_experiment(config, tmp_path / "run")
    assert row["cycles"] == 6
    assert row["chi2"] > 0
    assert "rmse_a" not in row
    with xr.open_dataset(tmp_path / "obs.nc") as ds:
        np.testing.assert_array_equal(analysis_of(tmp_path / "run", "letkf")["obs"], ds["obs"][:10])
    assert hashlib.sha256((tmp_path / "obs.nc").read_bytes()).hexdigest() == before


def test_that_the_table_shows_means_over_seeds():
    rows = [dict(case="c", method="m", members=5, rmse_a=value, diverged=-1) for value in (0.1, 0.2)]
    header, line = text_table(rows).splitlines()
    assert header.split()[:4] == ["case", "method", "members", "rmse_a"]
    assert line.split() == ["c", "m", "5", "0.15"]


def test_that_columns_are_unique():
    assert len(set(COLUMNS)) == len(COLUMNS)
