"""The report of an invented run: right numbers, nothing from outside, nothing unescaped, whatever is missing."""

import csv
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from scoreda.datasets import simulate, write_dataset
from scoreda.datasets.layout import flat_dataset
from scoreda.datasets.provenance import to_json
from scoreda.errors import ScoredaError
from scoreda.experiments.prior_samples import write_prior_samples
from scoreda.experiments.report import write_report
from scoreda.experiments.report_html import Html, element
from scoreda.experiments.report_results import Score, baseline, difference, results, verdict
from scoreda.experiments.report_words import describe_case, describe_outcome
from scoreda.experiments.scores import COLUMNS
from scoreda.models import AdditiveError, Lorenz96, WithModelError
from scoreda.observations import Elementwise, EveryNth, GaussianError, Identity, Network, StudentTError

NASTY = "<script>alert('x')</script> & \"co\""


def row(case="easy", method="etkf", seed=1, **values):
    known = dict(members=20, rmse_a=0.2, rmse_f=0.25, spread_a=0.22, crps_a=0.1, coverage90_a=0.905, chi2=1.01)
    known |= dict(coverage50_a=0.51, spread_skill_a=1.04, rank_flatness=1234.5, diverged=-1, cycles=30)
    known |= dict(pit_distance=0.0312, ess=17.25, network_evals=0, model_steps=12_000, tuning="radius=7 inflation=1.02")
    known |= dict(case=case, method=method, seed=seed) | values
    return {name: "" if known.get(name) is None else str(known[name]) for name in COLUMNS}


ROWS = [
    row(method="letkf", seed=1, rmse_a=0.30, expected=0.32, source="Hunt et al. (2007)"),
    row(method="letkf", seed=2, rmse_a=0.34, expected=0.32, source="Hunt et al. (2007)"),
    row(method="coupled", seed=1, rmse_a=0.20, network_evals=2_500_000, expected=0.25, source="a guess"),
    row(method="coupled", seed=2, rmse_a=0.22, network_evals=2_500_000, expected=0.25, source="a guess"),
    row(method="lost", seed=1, rmse_a=0.1),
    row(method="lost", seed=2, rmse_a=None, diverged=4),
    row(case="cold", method=NASTY, tuning=NASTY, expected=0.1, source=NASTY),
]
CONFIG = {
    "name": NASTY,
    "cases": {
        "cold": {"title": NASTY, "initial": {"kind": "climatology"}},
        "easy": {"title": "The easy one", "burn_in": 5, "initial": {"kind": "truth"}},
        "later": {"title": "Not yet run"},
    },
}


@pytest.fixture(autouse=True)
def coarse_figures(monkeypatch):
    """Most of the time would go into pixels."""
    monkeypatch.setattr("scoreda.experiments.report_html.DPI", 20)


def write_scores(folder, rows):
    with open(folder / "scores.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def write_analysis(path, twin, seed, lost_from=None):
    rng = np.random.default_rng(seed)
    E = twin["truth"].values[:, None] + 0.3 * rng.normal(size=(twin.sizes["time"], 4, twin.sizes["space"]))
    E[lost_from if lost_from is not None else len(E) :] = np.nan
    ensembles = {name: (("time", "member", "space"), E.astype("float32")) for name in ("prior", "analysis")}
    run = flat_dataset(ensembles | {"truth": twin["truth"].variable}, {"time": twin["time"].variable}, {})
    write_dataset(run, path)


def make_folder(folder):
    model = Lorenz96(size=12)
    network = Network(Identity(12), GaussianError(1.0, 12), 0.05)
    twin = simulate(model, network, cycles=12, seed=1, spinup=1.0)
    for case in ("easy", "cold"):
        write_dataset(twin, folder / case / "twin.nc")
    for method in ("letkf", "coupled", "lost"):
        write_analysis(folder / "easy" / method / "seed1" / "analysis.nc", twin, 1, 4 if method == "lost" else None)
    write_scores(folder, ROWS)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return folder


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(make_folder(tmp_path_factory.mktemp("run")))


class Page(HTMLParser):
    """Tables as lists of rows of cell texts, every attribute, and whether the tags balance."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.attributes, self.open, self.headings, self.text = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("img", "meta"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += f" {data.strip()}"
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def read(path):
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.open
    return page


def table_of(page, number):
    head, *body = page.tables[number]
    names, *lines = ([" ".join(cell.split()) for cell in cells] for cells in (head, *body))
    return [dict(zip(names, cells, strict=True)) for cells in lines]


def test_that_the_table_holds_means_and_standard_errors_over_seeds(report):
    rows = table_of(read(report), 2)
    by_method = {line["Method"].split()[0]: line for line in rows}
    # .30, .34: mean .32, standard error .02; .20, .22: mean .21, standard error .01
    assert by_method["letkf"]["RMSE, analysis"] == "0.320 ± 0.020"
    assert by_method["coupled"]["RMSE, analysis"] == "0.210 ± 0.010"
    assert by_method["letkf"]["Settings"] == "radius=7 inflation=1.02"
    assert by_method["letkf"]["Members"] == "20 2 seeds"
    assert by_method["coupled"]["Cost"] == "12 k model steps 2.5 M network calls"


def test_that_calibration_has_a_table_of_its_own_without_empty_columns(report):
    line = table_of(read(report), 3)[1]
    assert (line["Method"], line["50 % coverage"], line["90 % coverage"]) == ("letkf", "51.0 %", "90.5 %")
    assert (line["Spread / RMSE"], line["Rank flatness"], line["Chi-square"]) == ("1.04", "1234", "1.010 ± 0.000")
    assert (line["PIT distance"], line["Effective members"]) == ("0.0312", "17.2")
    assert "Log score" not in line and "Diagnosed R" not in line


def test_that_methods_are_sorted_by_rmse_with_diverged_ones_last_and_the_best_marked(report):
    rows = table_of(read(report), 2)
    assert [line["Method"] for line in rows] == ["coupled best learned prior", "letkf", "lost"]
    assert (rows[2]["RMSE, analysis"], rows[2]["Failed runs"]) == ("0.100", "1 of 2 1 diverged")


def test_that_the_literature_stands_beside_each_result_with_a_mark(report):
    rows = table_of(read(report), 2)
    assert [line["Expected"] for line in rows] == ["0.25 better a guess", "0.32 meets Hunt et al. (2007)", "–"]


def test_that_cases_come_in_the_order_of_the_configuration_even_without_results(report):
    page = read(report)
    assert page.headings == [NASTY, "The easy one", "Not yet run", "Provenance"]
    assert "No method has finished on this case yet." in page.text


def test_that_the_page_needs_nothing_from_outside(report):
    page = read(report)
    links = [value for _, name, value in page.attributes if name in ("src", "href", "action", "poster", "srcset")]
    assert links and all(value.startswith(("data:image/png;base64,", "#")) for value in links)
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|<link|@import|url\(", text)


def test_that_every_text_is_escaped(report):
    page = read(report)
    assert "script" not in {tag for tag, *_ in page.attributes} and "<script" not in report.read_text()
    [line] = table_of(page, 0)
    assert line["Method"].startswith(NASTY) and line["Settings"] == NASTY and line["Expected"].endswith(NASTY)


def captions_of(page):
    return [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]


def test_that_every_case_with_analyses_has_its_figures(report):
    captions = captions_of(read(report))
    starts = (
        "RMSE of the analysis: time mean",
        "RMSE against the size",
        "coupled, seed 1,",
        "RMSE of the analysis (solid)",
    )
    starts += ("Calibration", "Rank")
    assert len(captions) == 6
    assert all(caption.startswith(start) for caption, start in zip(captions, starts, strict=True))
    assert "all 12 cycles" in captions[2]


def test_that_figures_and_samples_of_the_prior_get_a_section(folder):
    class Doubtful:
        def sample(self, number, size, seed):
            return np.full((number, size), 2.0) + np.arange(size) % 2

    write_prior_samples(folder, Doubtful(), Lorenz96(size=12), number=40)
    figure = Figure()
    page = read(write_report(folder, [("a caption", figure)]))
    captions = captions_of(page)
    assert "The learned prior" in page.headings
    assert "Mean 2.50" in captions[6] and "standard deviation 0.50" in captions[6]
    assert captions[7] == "a caption"


def test_that_the_provenance_names_command_versions_seeds_and_configuration(report):
    text = " ".join(read(report).text)
    for expected in ("Command", "numpy " + np.__version__, "Seeds of the methods 1, 2", "burn_in: 5"):
        assert expected in text


def test_that_a_report_is_written_without_analyses_and_without_a_configuration(folder):
    for path in folder.glob("*/*/*/analysis.nc"):
        path.unlink()
    (folder / "config.yaml").unlink()
    page = read(write_report(str(folder)))
    assert page.headings == ["easy", "cold", "Provenance"] and len(page.tables) == 4


def test_that_a_report_of_a_run_that_has_just_begun_says_so(folder):
    (folder / "scores.csv").unlink()
    page = read(write_report(folder))
    assert page.text.count("No method has finished on this case yet.") == 3 and not page.tables


def test_that_a_run_without_truth_has_scores_but_no_figures(folder):
    for path in folder.glob("*/*/*/analysis.nc"):
        ensemble = np.zeros((12, 4, 12), dtype="float32")
        write_dataset(flat_dataset({"analysis": (("time", "member", "space"), ensemble)}, {}, {}), path)
    page = read(write_report(folder))
    assert len(page.tables) == 4
    assert [caption[:12] for caption in captions_of(page)] == ["RMSE of the ", "RMSE against"]  # of the table alone


def test_that_a_folder_without_a_run_is_refused_and_left_alone(tmp_path):
    with pytest.raises(ScoredaError, match="holds no run"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_that_two_reports_of_one_folder_are_the_same_to_the_byte(folder):
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_that_a_report_needs_neither_pydantic_nor_torch(folder):
    code = "import sys; from scoreda.experiments.report import write_report; write_report(sys.argv[1]); "
    code += "assert not {'pydantic', 'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


@pytest.mark.parametrize(
    ("rmse", "expected", "mark"),
    [
        ([0.209], 0.2, "meets"),
        ([0.211], 0.2, "falls short"),
        ([0.189], 0.2, "better"),
        ([0.20, 0.226], 0.2, "meets"),  # 6.5 % above, two standard errors are 13 %, taken as 10 %
        ([0.17, 0.29], 0.2, "falls short"),  # 15 % above: large standard errors excuse no more than 10 %
        ([0.2], None, ""),
        ([None], 0.2, ""),
    ],
)
def test_that_the_mark_follows_five_percent_and_two_standard_errors(rmse, expected, mark):
    [result] = results(row(seed=k, rmse_a=value, expected=expected) for k, value in enumerate(rmse))
    assert verdict(result) == mark


def test_that_a_score_of_the_time_while_locked_is_compared_with_that():
    lost = dict(rmse_a=1.0, rmse_locked=0.2, expected=0.2)
    assert [verdict(results([row(**lost, expected_locked=mark)])[0]) for mark in ("yes", "")] == [
        "meets",
        "falls short",
    ]


@pytest.mark.parametrize("runs", [1, 2])
def test_that_a_run_that_never_locked_falls_short_where_the_expected_score_is_of_the_time_while_locked(runs):
    never = dict(rmse_a=4.0, lock_cycles=-1, lost_fraction=1.0, expected=0.2)
    kept = [row(seed=9, rmse_a=0.19, rmse_locked=0.19, lock_cycles=3, lost_fraction=0.0, expected=0.2)] * (runs - 1)
    rows = [row(seed=0, **never), *kept]
    [result] = results(one | dict(expected_locked="yes") for one in rows)
    assert verdict(result) == "falls short"


def test_that_a_climatology_that_never_locks_meets_the_score_of_a_climatology():
    [result] = results([row(rmse_a=3.6, lock_cycles=-1, lost_fraction=1.0, expected=3.6)])
    assert verdict(result) == "meets"


def test_that_a_method_that_lost_a_run_falls_short_and_never_hidden():
    [result] = results([row(seed=1, rmse_a=0.1, expected=0.2), row(seed=2, rmse_a=None, expected=0.2, diverged=7)])
    assert verdict(result) == "falls short" and result.rmse.mean == 0.1
    assert "diverged in 1 of 2 runs (seed 2 at cycle 7)" in describe_outcome([result])
    [result] = results([row(rmse_a=None, diverged=7)])
    assert describe_outcome([result]).startswith("No method has a score.") and math.isnan(result.rmse.mean)


def test_that_runs_fail_that_diverge_or_are_never_locked_while_scored():
    kinds = [
        dict(lock_cycles=12, lost_fraction=0.1, rmse_locked=0.2),
        dict(lock_cycles=-1, lost_fraction=1.0),
        dict(lock_cycles=3, lost_fraction=1.0),  # lost before the first scored cycle
        dict(lock_cycles=5, lost_fraction=0.7, rmse_locked=0.4, diverged=9, rmse_a=None),
    ]
    [result] = results(row(seed=k, **kind) for k, kind in enumerate(kinds))
    assert (result.failed, result.astray, result.locked) == (3, 2, (12, -1, 3))
    assert result.lock_cycles == 7.5  # of the two that did
    assert math.isnan(results([row(**kinds[1])])[0].lock_cycles)
    # tracking is told of every run, the diverged one too
    assert result.scores["rmse_locked"].mean == pytest.approx(0.3)
    assert result.scores["lost_fraction"].mean == pytest.approx(0.7)


def test_that_differences_are_paired_by_seed_with_the_error_of_the_difference():
    values = {"a": [0.20, 0.30, 0.40], "b": [0.21, 0.31, 0.44], "c": [0.1, None, 0.5]}
    rows = [row(method=m, seed=k, rmse_a=v) for m, runs in values.items() for k, v in enumerate(runs)]
    rows[-2]["diverged"] = "7"
    found = {result.method: result for result in results(rows)}
    # .01, .01, .04: mean .02, standard error sqrt(.0003 / 3) = .01; the seeds alone scatter by .06
    assert difference(found["b"], found["a"]) == pytest.approx((0.02, 0.01))
    # -.1 and .1: the seed with which c diverged is left out
    assert difference(found["c"], found["a"]) == pytest.approx((0.0, 0.1))


def test_that_the_baseline_is_the_best_method_without_the_learned_prior():
    rows = [row(method="a", rmse_a=0.3), row(method="b", rmse_a=0.1, network_evals=9), row(method="c", rmse_a=0.2)]
    assert baseline(results(rows)).method == "c"
    assert baseline(results(rows[1:2])) is None


def test_that_a_single_run_has_the_error_of_its_time_mean():
    [result] = results([row(rmse_a=0.2, rmse_a_se=0.004)])
    assert str(result.rmse) == "0.200 ± 0.004"


def test_that_the_learned_prior_is_compared_with_the_best_method_without_it():
    found = results([row(method="a", rmse_a=0.2), row(method="b", rmse_a=0.15, network_evals=10)])
    assert "b reaches 0.150: 25 % below a," in describe_outcome(found)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.1234], "0.123"),
        ([12.34], "12.3"),
        ([0.1, 0.3], "0.200 ± 0.100"),
        ([0.2000, 0.2004], "0.2002 ± 0.0002"),  # the error would vanish in three digits
        ([0.2, 0.2], "0.2000 ± 0.0000"),
        ([math.nan, 1234.0], "1234"),
        ([math.nan], "–"),
        ([0.0], "0.00"),
    ],
)
def test_that_scores_are_written_with_the_digits_they_have(values, text):
    assert str(Score.of(values)) == text


def test_that_a_case_is_described_from_its_twin():
    operator = Elementwise(EveryNth(12, 2), "arctan")
    network = Network(operator, GaussianError(np.linspace(0.01, 0.04, 6), 6), 0.1)
    twin = simulate(Lorenz96(size=12), network, cycles=3, seed=1, spinup=1.0)
    text = describe_case(twin.attrs, twin.sizes, {"initial": {"kind": "climatology"}, "burn_in": 1})
    assert "lorenz96 (12 variables, dt 0.05, forcing 8, scheme rk4)." in text
    assert "The arctan of 6 of 12 variables is observed every 0.1 model time units" in text
    assert "with Gaussian errors of standard deviation 0.1 to 0.2" in text
    assert "start cold" in text and "3 cycles, scored after the first 1" in text


def test_that_what_methods_get_wrong_is_told():
    truth = WithModelError(Lorenz96(size=12), AdditiveError(0.1))
    network = Network(EveryNth(12, 2), StudentTError(1.0, 6, df=3), times=[0.1, 0.4, 0.5])
    twin = simulate(truth, network, cycles=2, seed=1, spinup=1.0, assimilation_model=Lorenz96(size=12, forcing=8.5))
    observed = {
        "assumed": {"error": "gaussian", "obs_variance": 0.5, "df": None},
        "missing": 0.1,
        "times": [0.1, 0.4, 0.5],
    }
    text = describe_case(twin.attrs, twin.sizes, {"observations": observed})
    assert "Model: lorenz96 (12 variables, dt 0.05, forcing 8.5, scheme rk4). The truth follows another:" in text
    assert "lorenz96 (dt 0.05, forcing 8, scheme rk4) with additive (variance 0.1) added to each step." in text
    assert "observed at irregular times, with Student-t errors (3 degrees of freedom) of standard deviation 1." in text
    assert "Methods assume Gaussian errors of standard deviation 0.707. 10 % of the values are lost." in text


def test_that_what_only_code_can_tell_is_called_a_users_and_matrices_are_not_written_out():
    truth = WithModelError(Lorenz96(size=4), AdditiveError(np.eye(4)))
    specs = {"truth_model": to_json(truth.spec()), "obs_error": "null", "model": "null", "operator": "null"}
    sizes = {"obs": 5, "space": 4, "time": 2}
    assumed = {"error": "correlated_gaussian", "covariance": np.eye(4).tolist()}
    text = describe_case(specs | {"obs_variance": 1.0}, sizes, {"observations": {"assumed": assumed}})
    assert "with additive (variance of 4 x 4 numbers) added to each step." in text
    assert "with errors of a user's kind of standard deviation 1. Methods assume correlated Gaussian errors." in text
    text = describe_case(specs | {"truth_model": "null", "obs_variance": 1.0}, sizes, {})
    assert "The truth follows another: a user's model." in text


def test_that_a_users_model_and_operator_are_described_by_their_sizes():
    text = describe_case(
        {"model": "null", "operator": "null", "obs_variance": 1.0, "interval": 1.0},
        {"obs": 5, "space": 9, "time": 2},
        {},
    )
    assert "a user's model (9 variables)" in text and "5 values are observed" in text


def test_that_elements_escape_text_and_attributes_but_not_markup():
    assert element("p", "a < b", Html("<b>c</b>"), title='"&') == '<p title="&quot;&amp;">a &lt; b<b>c</b></p>'
    assert element("img", src="x", alt=None) == '<img src="x">'
