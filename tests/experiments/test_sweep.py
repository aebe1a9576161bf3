import csv
import json
import math
import re
import shutil

import numpy as np
import pytest

from scoreda.errors import ScoredaError
from scoreda.experiments.case import InitialSection, ModelSection, SourcedSection
from scoreda.experiments.cells import run_cell
from scoreda.experiments.config import Experiment
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.methods import CoupledScoreFilterSettings, ETKFSettings
from scoreda.experiments.report import write_report
from scoreda.experiments.run import run_experiment, run_experiments, score_folder
from scoreda.experiments.scores import TRIAL_COLUMNS, write_rows
from scoreda.experiments.sweep import Sweep
from scoreda.experiments.tuning import (
    finals_of,
    number_of_finals,
    trial_rows,
    trials_of,
    tuned,
    tuned_as,
)

GRID = {"kind": "letkf", "tune": {"radius": [2.0, 4.0], "inflation": [1.0, 1.05, 30.0]}}


def experiment(methods, **changes):
    case = {
        "model": {"size": 8}, "observations": {"interval": 0.05, "obs_std": 1.0}, "cycles": 12, "burn_in": 4,
        "members": 5, "methods": methods,
    }  # fmt: skip
    settings = {"name": "tiny", "cases": {"one": case}, "tuning": {"cycles": 10, "burn_in": 2}}
    return Experiment.model_validate(settings | changes)


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def counting(calls):
    """Return an executor that notes the cells it is given."""

    def execute(task, cells):
        for cell in cells:
            calls.append(str(cell))
            yield task(cell)

    return execute


def test_that_scores_are_kept_without_ensembles_and_are_the_same(tmp_path):
    methods = {"etkf": {"kind": "etkf"}}
    run_experiment(experiment(methods), tmp_path / "a")
    run_experiment(experiment(methods, ensembles=False), tmp_path / "b")
    assert (tmp_path / "a/scores.csv").read_bytes() == (tmp_path / "b/scores.csv").read_bytes()
    assert not list((tmp_path / "b").rglob("analysis.nc"))
    assert (tmp_path / "b/one/etkf/seed1/series.nc").stat().st_size < 50_000


def test_that_a_cell_is_finished_when_its_scores_are_there_and_its_hash_fits(tmp_path):
    config = experiment({"etkf": {"kind": "etkf"}}, ensembles=False)
    run_experiment(config, tmp_path)
    (cell,) = Sweep(config, RunFolder(tmp_path)).cells
    assert cell.stored()["row"]["rmse_a"] > 0
    found = json.loads(cell.result.read_text())
    cell.result.write_text(json.dumps(found | {"digest": "another"}))
    assert cell.stored() is None
    assert Sweep(config, RunFolder(tmp_path)).missing()[0].digest() == found["digest"]


def test_that_an_analysis_without_scores_is_scored_and_one_of_other_settings_is_not(tmp_path):
    config = experiment({"etkf": {"kind": "etkf"}})
    run_experiment(config, tmp_path)
    scores = (tmp_path / "scores.csv").read_bytes()
    (cell,) = Sweep(config, RunFolder(tmp_path)).cells
    cell.result.unlink()
    other = experiment({"etkf": {"kind": "etkf", "inflation": 3.0}})
    assert len(Sweep(other, RunFolder(tmp_path)).missing()) == 1
    assert not cell.result.exists()
    sweep = Sweep(config, RunFolder(tmp_path))
    assert not sweep.missing() and cell.result.is_file()
    sweep.write()
    assert (tmp_path / "scores.csv").read_bytes() == scores


def test_that_every_setting_that_matters_changes_the_hash_and_the_title_does_not(tmp_path):
    def digest(**changes):
        config = experiment({"etkf": {"kind": "etkf"}})
        case = config.cases["one"]
        known = {key: value for key, value in changes.items() if key in type(case).model_fields}
        config = config.model_copy(update={"cases": {"one": case.model_copy(update=known)}})
        config = config.model_copy(update={key: value for key, value in changes.items() if key not in known})
        return Sweep(config, RunFolder(tmp_path)).cells[0].digest()

    changes = [
        {"cycles": 13},
        {"burn_in": 5},
        {"members": 6},
        {"twin_seed": 9},
        {"twin_per_seed": True},
        {"seeds": [2]},
        {"lock_level": 0.3},
        {"model": ModelSection(name="lorenz96", size=8, forcing=7.0)},
        {"truth": ModelSection(name="lorenz96", size=8, forcing=7.0)},
        {"initial": InitialSection(kind="climatology")},
        {"methods": {"etkf": ETKFSettings(kind="etkf", inflation=1.1)}},
    ]
    digests = {digest(), *(digest(**change) for change in changes)}
    assert len(digests) == 1 + len(changes)
    assert digest(title="another") == digest()
    score = {"methods": {"etkf": CoupledScoreFilterSettings(kind="coupled_score_filter")}}
    assert digest(**score, prior_sha256="a") != digest(**score, prior_sha256="b")
    assert digest(prior_sha256="a") == digest()  # of a method without a prior
    assert digest(floor=SourcedSection(rmse_a=0.1, source="a bound")) == digest()


def test_that_cases_methods_and_seeds_can_be_added_without_running_anything_again(tmp_path):
    run_experiment(experiment({"etkf": {"kind": "etkf"}}), tmp_path)
    calls = []
    more = experiment({"enkf": {"kind": "enkf"}, "etkf": {"kind": "etkf"}}, seeds=[2, 1])
    run_experiment(more, tmp_path, execute=counting(calls))
    assert calls == ["one, enkf, seed 2", "one, enkf, seed 1", "one, etkf, seed 2"]
    with pytest.raises(ScoredaError, match="`seeds` differs"):
        run_experiment(experiment({"enkf": {"kind": "enkf"}, "etkf": {"kind": "etkf"}}, seeds=[1]), tmp_path)


def test_that_a_floor_can_be_added_without_running_anything_again(tmp_path):
    config, calls = experiment({"etkf": {"kind": "etkf"}}), []
    run_experiment(config, tmp_path)
    floor = SourcedSection(rmse_a=0.1, source="a bound")
    case = config.cases["one"].model_copy(update=dict(floor=floor))
    run_experiment(config.model_copy(update={"cases": {"one": case}}), tmp_path, execute=counting(calls))
    assert calls == []
    assert RunFolder(tmp_path).earlier()["cases"]["one"]["floor"] == floor.model_dump()


def test_that_every_cell_keeps_the_commit_that_made_it_and_scores_do_not_depend_on_it(tmp_path, monkeypatch):
    config = experiment({"etkf": {"kind": "etkf"}, "oi": {"kind": "oi"}}, ensembles=False)
    monkeypatch.setattr("scoreda.datasets.provenance.commit", lambda: "aaaaaaa")
    run_experiment(config, tmp_path)
    scores = (tmp_path / "scores.csv").read_bytes()
    (tmp_path / "one/oi/seed1/scores.json").unlink()
    monkeypatch.setattr("scoreda.datasets.provenance.commit", lambda: "bbbbbbb-dirty")
    run_experiment(config, tmp_path)
    assert [row["commit"] for row in rows_of(tmp_path / "timings.csv")] == ["aaaaaaa", "bbbbbbb-dirty"]
    assert (tmp_path / "scores.csv").read_bytes() == scores
    monkeypatch.setattr("scoreda.datasets.provenance.commit", lambda: "ccccccc")
    page = write_report(tmp_path, figures=False).read_text(encoding="utf-8")
    summary = {row["method"]: row["commit"] for row in rows_of(tmp_path / "summary.csv")}
    assert summary == {"etkf": "aaaaaaa", "oi": "bbbbbbb-dirty"}
    assert "<dd>aaaaaaa, bbbbbbb-dirty</dd>" in page and "commit ccccccc</dd>" in page


def test_that_scoring_again_keeps_the_commit_of_the_run_and_runs_of_earlier_versions_have_none(tmp_path, monkeypatch):
    monkeypatch.setattr("scoreda.datasets.provenance.commit", lambda: "aaaaaaa")
    run_experiment(experiment({"etkf": {"kind": "etkf"}}), tmp_path)
    monkeypatch.setattr("scoreda.datasets.provenance.commit", lambda: "bbbbbbb")
    score_folder(tmp_path)
    assert [row["commit"] for row in rows_of(tmp_path / "timings.csv")] == ["aaaaaaa"]
    (tmp_path / "timings.csv").unlink()
    result = tmp_path / "one/etkf/seed1/scores.json"
    result.write_text(
        json.dumps({key: value for key, value in json.loads(result.read_text()).items() if key != "commit"})
    )
    run_experiment(experiment({"etkf": {"kind": "etkf"}}), tmp_path)
    assert [row["commit"] for row in rows_of(tmp_path / "timings.csv")] == [""]


def mean_errors(rows):
    """The mean error of each of six trials, NaN for one without rows."""
    own = [[float(row["rmse_a"]) for row in rows if row["trial"] == str(k)] for k in range(6)]
    return [np.mean(errors) if errors else np.nan for errors in own]


def test_that_the_best_finalist_of_other_seeds_is_what_is_reported(tmp_path):
    config = experiment({"letkf": GRID, "oi": {"kind": "oi"}}, ensembles=False)
    rows = run_experiment(config, tmp_path)
    tuning = rows_of(tmp_path / "tuning.csv")
    trials, finals = ([row for row in tuning if row["round"] == number] for number in ("1", "2"))
    assert [row["trial"] for row in trials] == [str(k) for k in range(6) for _ in range(2)]
    assert {row["seed"] for row in tuning} == {"101", "102"}
    assert {row["trial"] for row in finals} == {
        str(min((k, k + 3), key=mean_errors(trials).__getitem__)) for k in range(3)
    }
    best = int(np.nanargmin(mean_errors(finals)))
    assert {row["trial"] for row in tuning if row["chosen"] == "yes"} == {str(best)}
    chosen = dict(word.split("=") for word in rows[0]["tuning"].split())
    expected = dict(word.split("=") for word in trials[2 * best]["settings"].split())
    assert float(chosen["radius"]) == float(expected["radius"])
    assert float(chosen.get("inflation", 1)) == float(expected["inflation"])
    assert (rows[0]["cycles"], rows[1]["tuning"]) == (8, "")
    scores = (tmp_path / "scores.csv").read_bytes()
    assert score_folder(tmp_path) == rows
    assert (tmp_path / "scores.csv").read_bytes() == scores


def test_that_the_settings_of_an_earlier_tuning_are_run_without_it(tmp_path):
    config = experiment({"letkf": GRID, "oi": {"kind": "oi"}}, ensembles=False)
    rows = run_experiment(config, tmp_path / "runs" / "first")
    write_report(tmp_path / "runs")
    for earlier in (tmp_path / "runs" / "first", tmp_path / "runs", tmp_path / "runs" / "tuning.csv"):
        again = tuned_as(config, earlier)
        assert trials_of(again) is None
        assert again == tuned_as(config, tmp_path / "runs" / "first")
    assert run_experiment(again, tmp_path / "again") == rows
    assert not (tmp_path / "again" / "tuning.csv").exists()


def test_that_settings_that_no_tuning_chose_are_refused_and_named(tmp_path):
    config = experiment({"letkf": GRID, "oi": {"kind": "oi"}})
    with pytest.raises(ScoredaError, match=r"there is no '.*tuning\.csv'\. Give"):
        tuned_as(config, tmp_path)
    rows = [dict(case="one", method="letkf", seed=101, settings="radius=99.0 inflation=1.0", chosen="yes")]
    write_rows(tmp_path / "tuning.csv", TRIAL_COLUMNS, rows)
    with pytest.raises(ScoredaError, match=r"no choice among the values under `tune:` for one letkf\. Give"):
        tuned_as(config, tmp_path)


def tuning_rows(errors, diverged=()):
    """Rows of trials, by number, with two seeds."""
    known = [dict(case="one", seed=seed) for seed in (101, 102)]
    names = {k: dict(method=f"letkf.trial{k}", diverged=3 if k in diverged else -1) for k in errors}
    return [row | names[k] | dict(rmse_a=error) for k, error in errors.items() for row in known]


ERRORS = {0: 0.5, 1: 0.3, 2: 0.1, 3: 0.3, 4: 0.9, 5: 0.9}
NO_INFLATION = {"kind": "letkf", "tune": {"radius": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}}


@pytest.mark.parametrize(("grid", "best"), [(GRID, (1, 3, 5)), (NO_INFLATION, (1, 3, 0, 4))])
def test_that_the_best_trials_run_on_one_for_each_inflation_and_divergence_loses(grid, best):
    config = experiment({"letkf": grid})
    trials = tuning_rows(ERRORS, diverged=[2])
    finals = finals_of(config, trials).cases["one"]
    assert list(finals.methods) == [f"letkf.trial{k}" for k in best]
    assert (finals.cycles, finals.burn_in) == (12, 4)
    assert finals_of(config, trials[1:]) is None


@pytest.mark.parametrize(
    ("errors", "error", "best"),
    [
        ({0: 0.300, 1: 0.309, 2: 0.311}, 0.014, 1),  # of two seeds the error is 0.0099: 1 is within it, 2 is not
        ({0: 0.300, 1: 0.309, 2: 0.311}, 0.012, 0),
        ({0: 0.300, 1: 0.301, 2: 0.309}, 0.014, 2),
        ({0: math.inf, 1: math.inf, 2: math.inf}, 0.014, 0),
    ],
)
def test_that_of_finalists_within_a_standard_error_the_most_inflated_is_reported(errors, error, best):
    grid = {"kind": "letkf", "radius": 2.0, "tune": {"inflation": [1.0, 1.05, 1.1]}}
    config = experiment({"letkf": grid})
    trials = tuning_rows({0: 0.5, 1: 0.5, 2: 0.5})
    finals = [row | dict(rmse_a_se=error) for row in tuning_rows(errors)]
    assert tuned(config, trials, finals).cases["one"].methods["letkf"].inflation == [1.0, 1.05, 1.1][best]


def test_that_what_diverges_with_one_seed_comes_before_what_diverges_with_both():
    config = experiment({"letkf": NO_INFLATION})
    trials = tuning_rows(ERRORS, diverged=[0, 1, 2])
    trials[-1]["diverged"] = 5  # trial 5, like 4, but with one seed
    assert list(finals_of(config, trials).cases["one"].methods) == [f"letkf.trial{k}" for k in (3, 4, 5, 0)]
    finals = tuning_rows({3: 0.1, 4: 0.1, 5: 0.9, 0: 0.1}, diverged=[0, 3, 4])
    finals[5]["diverged"] = 7
    assert tuned(config, trials, finals).cases["one"].methods["letkf"].radius == 6.0


def test_that_no_number_but_inflation_makes_a_finalist_safer():
    config = experiment({"letkf": NO_INFLATION})
    finals = [row | dict(rmse_a_se=1.0) for row in tuning_rows({1: 0.3, 3: 0.31, 0: 0.32, 4: 0.33})]
    assert tuned(config, tuning_rows(ERRORS, diverged=[2]), finals).cases["one"].methods["letkf"].radius == 2.0


@pytest.mark.parametrize(("errors", "best"), [({1: 0.3, 2: 0.3, 3: 0.4}, 1), ({1: 0.4, 2: 0.3, 3: 0.2}, 3)])
def test_that_the_first_of_equal_finalists_wins_whatever_the_trials_said(errors, best):
    config = experiment({"letkf": NO_INFLATION})
    trials = tuning_rows(dict(enumerate((0.5, 0.4, 0.3, 0.2, 0.9, 0.9))))
    finals = tuning_rows(errors | {0: 0.9})
    method = tuned(config, trials, finals).cases["one"].methods["letkf"]
    assert method == config.cases["one"].methods["letkf"].changed(method_trials(config)[best])
    assert not tuned(config, trials, finals[1:]).cases["one"].methods


RADII = [8.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("tune", "edges"),
    [
        ({"radius": RADII}, {0: "radius", 1: "radius", 2: ""}),
        ({"radius": RADII, "inflation": [1.0, 1.05, 1.1]}, {0: "radius inflation", 4: "radius", 6: "inflation", 7: ""}),
        ({"radius": RADII[:2]}, {0: "", 1: ""}),
        ({"radius": [4.0], "rotate": [False, True, False]}, {0: "", 1: ""}),
    ],
)
def test_that_the_tuning_tells_whether_the_best_value_is_at_the_end_of_its_grid(tune, edges):
    config = experiment({"letkf": {"kind": "letkf", "tune": tune}})
    number = len(method_trials(config))
    for best, edge in edges.items():
        scores = tuning_rows({k: 0.1 if k == best else 0.2 + 0.01 * k for k in range(number)})
        rows = trial_rows(config, scores, scores)
        assert {row.get("at_edge", "") for row in rows if row.get("chosen") == "yes"} == {edge}
        assert not any(row.get("at_edge") for row in rows if row["trial"] != best)


def test_that_the_time_left_says_of_which_round_it_is(tmp_path, caplog):
    caplog.set_level("INFO", logger="scoreda")
    run_experiment(experiment({"letkf": GRID}, ensembles=False), tmp_path / "tuned")
    rounds = [message.split(" in ")[1] for message in caplog.messages]
    assert rounds == ["round 1 of 3)"] * 12 + ["round 2 of 3)"] * 6 + ["round 3 of 3)"]
    caplog.clear()
    run_experiment(experiment({"etkf": {"kind": "etkf"}}, ensembles=False), tmp_path / "plain")
    assert re.fullmatch(r"one, etkf, seed 1: \S+ s \(1 of 1, 0 s left\)", caplog.messages[0])


def test_that_a_tuned_run_is_replaced_whole(tmp_path):
    config = experiment({"letkf": GRID}, ensembles=False)
    run_experiment(config, tmp_path)
    fresh = run_experiment(experiment({"letkf": GRID}, ensembles=False, twin_seed=5), tmp_path / "fresh")
    assert run_experiment(config.model_copy(update={"twin_seed": 5}), tmp_path, overwrite=True) == fresh


def test_that_finals_follow_trials_that_changed(tmp_path):
    config = experiment({"letkf": GRID}, ensembles=False)
    run_experiment(config, tmp_path)
    before = {path.name for path in (tmp_path / "finals/one").glob("letkf*")}
    for path in (tmp_path / "tuning/one").glob("letkf*/*/scores.json"):
        found = json.loads(path.read_text())
        found["row"]["rmse_a"] = -found["row"]["rmse_a"]
        path.write_text(json.dumps(found))
    run_experiment(config, tmp_path)
    after = {path.name for path in (tmp_path / "finals/one").glob("letkf*")}
    assert len(after) == 3 and after != before


def test_that_one_damaged_final_costs_no_other(tmp_path):
    config = experiment({"letkf": GRID}, ensembles=False)
    run_experiment(config, tmp_path)
    finals = sorted((tmp_path / "finals/one").glob("letkf*/*/scores.json"))
    kept = {path: path.read_bytes() for path in finals[1:]}
    finals[0].write_text("{")
    with pytest.raises(ScoredaError, match="damaged"):
        run_experiment(config, tmp_path)
    assert {path: path.read_bytes() for path in finals[1:]} == kept


def test_that_scores_are_not_lost_with_the_tuning(tmp_path):
    run_experiment(experiment({"letkf": GRID, "oi": {"kind": "oi"}}, ensembles=False), tmp_path)
    scores = (tmp_path / "scores.csv").read_bytes()
    shutil.rmtree(tmp_path / "finals")
    with pytest.raises(ScoredaError, match="lacks the tuning of one letkf"):
        score_folder(tmp_path)
    assert (tmp_path / "scores.csv").read_bytes() == scores


def test_that_finals_score_half_of_their_cycles_at_least():
    config = experiment({"letkf": GRID}, tuning={"cycles": 10, "burn_in": 2, "final_cycles": 6})
    trials = tuning_rows(ERRORS)
    finals = finals_of(config.model_copy(deep=True), trials).cases["one"]
    assert (finals.cycles, finals.burn_in) == (6, 3)


@pytest.mark.parametrize(("grid", "number"), [(GRID, 6), (NO_INFLATION, 8)])
def test_that_the_finals_are_counted_beforehand(grid, number):
    config = experiment({"letkf": grid, "oi": {"kind": "oi"}})
    assert number_of_finals(config) == number
    assert len(list(finals_of(config, tuning_rows(ERRORS)).cells())) == number


def method_trials(config):
    return config.cases["one"].methods["letkf"].trials()


def test_that_a_method_whose_trials_failed_is_not_run_and_the_others_are(tmp_path):
    bad = {"kind": "letkf", "tune": {"radius": [2.0, 4.0]}}
    config = experiment({"letkf": bad, "etkf": {"kind": "etkf"}}, ensembles=False)
    case = config.cases["one"]
    blind = case.observations.model_copy(update=dict(operator="matrix", matrix=np.eye(8).tolist()))
    config = config.model_copy(update={"cases": {"one": case.model_copy(update={"observations": blind})}})
    with pytest.raises(ScoredaError, match=r"4 cells failed, all others are finished:\none, letkf.trial0, seed 101: "):
        run_experiment(config, tmp_path)
    assert [row["method"] for row in rows_of(tmp_path / "scores.csv")] == ["etkf"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"tune": {"radius": [2.0, 0.0]}}, "tune.radius.1"),
        ({"tune": {"radius": [2.0], "inflation": [1.0, -1.0]}}, "tune.inflation.1"),
        ({"tune": {"radius": [2.0], "inflaton": [1.0]}}, "did you mean 'inflation'"),
        ({"tune": {"radius": [1.0 * k for k in range(1, 22)]}}, "21 trials; every method has 20"),
        ({"tune": {"radius": []}}, "at least 1 item"),
    ],
)
def test_that_a_bad_grid_is_refused(change, text):
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        experiment({"letkf": {"kind": "letkf"} | change})


def test_that_settings_can_be_run_as_written():
    config = experiment({"letkf": GRID | {"radius": 3.0}}).untuned()
    method = config.cases["one"].methods["letkf"]
    assert (method.radius, method.inflation) == (3.0, 1.0)
    assert trials_of(config) is None


def test_that_a_method_is_not_tuned_on_the_seeds_it_is_scored_on():
    with pytest.raises(ValueError, match=r"\[101\] are the seeds of the tuning too"):
        experiment({"letkf": GRID}, seeds=[1, 101])


def test_that_what_goes_wrong_in_a_cell_is_told_and_the_others_run(tmp_path):
    config = experiment({"etkf": {"kind": "etkf"}, "letkf": {"kind": "letkf", "radius": 2.0}}, ensembles=False)

    def execute(task, cells):
        for cell in cells:
            yield cell.failed("its worker died") if cell.method == "etkf" else task(cell)

    with pytest.raises(ScoredaError, match=r"1 cells failed, all others are finished:\none, etkf, seed 1: its worker"):
        run_experiment(config, tmp_path, execute=execute)
    assert [row["method"] for row in rows_of(tmp_path / "scores.csv")] == ["letkf"]
    assert [row["method"] for row in run_experiment(config, tmp_path)] == ["etkf", "letkf"]


def test_that_several_experiments_run_together(tmp_path):
    a, b = experiment({"etkf": {"kind": "etkf"}}), experiment({"oi": {"kind": "oi"}}, name="other")
    calls = []
    tables = run_experiments([(a, tmp_path / "a"), (b, tmp_path / "b")], execute=counting(calls))
    assert calls == ["one, etkf, seed 1", "one, oi, seed 1"]
    assert [table[0]["method"] for table in tables] == ["etkf", "oi"]


def test_that_an_error_in_a_cell_names_its_kind(tmp_path):
    (cell,) = Sweep(experiment({"etkf": {"kind": "etkf"}}), RunFolder(tmp_path)).cells
    assert "there is no file" in run_cell(cell).failure  # its twin was never made
