import numpy as np
import pytest
import yaml

from scoreda.datasets import model_of, open_dataset, truth_model_of
from scoreda.errors import ScoredaError
from scoreda.experiments.config import Experiment, load_config, resolved
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.report import write_report
from scoreda.experiments.run import run_experiment
from scoreda.experiments.shipped import shipped_configs
from scoreda.experiments.twins import make_twins
from scoreda.experiments.yaml_source import dump
from scoreda.models import MODELS
from scoreda.observations import FUNCTIONS

BENCH = {name: path for name, path in shipped_configs().items() if path.parent.name == "bench"}
CASES = """\
name: small
cases:
  one:
    model: {size: 8}
    observations: {interval: 0.1, obs_std: 0.5}
    cycles: 6
    members: 5
    methods:
      etkf: {kind: etkf}
"""


@pytest.fixture
def load(tmp_path):
    """Load CASES with pairs of old and new text replaced."""

    def load(*changes):
        text = CASES
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(Experiment, path)

    return load


def refused(load, tmp_path, *changes):
    with pytest.raises(ScoredaError) as error:
        load(*changes)
    return str(error.value).replace(str(tmp_path), "").split("\n")


@pytest.mark.parametrize("name", MODELS)
def test_that_every_model_can_be_named_and_reads_back_equal(load, tmp_path, name):
    interval = {"kuramoto_sivashinsky": "0.5"}.get(name, "0.1")
    config = load(("{size: 8}", f"{{name: {name}}}"), ("interval: 0.1", f"interval: {interval}"))
    assert config.cases["one"].model.build().spec() == MODELS[name]().spec()
    path = tmp_path / "again.yaml"
    path.write_text(dump(resolved(config)), encoding="utf-8")
    assert resolved(load_config(Experiment, path)) == resolved(config)


@pytest.mark.parametrize(
    ("settings", "name", "size"),
    [
        ("operator: random, number: 3, seed: 2", "sites", 3),
        ("operator: moving, number: 3, seed: 2, function: abs", "moving_sites", 3),
        ("operator: interpolated, positions: [0.5, 3.25]", "interpolated", 2),
        ("operator: matrix, matrix: [[1, 1, 0, 0, 0, 0, 0, 0]], locations: [0.5]", "linear", 1),
        ("operator: products", "neighbour_products", 8),
        ("operator: products, sites: [1, 4], lag: 2", "neighbour_products", 2),
        *[(f"function: {function}", "elementwise", 8) for function in FUNCTIONS],
    ],
)
def test_that_every_operator_can_be_named(load, settings, name, size):
    operator = load(("interval", f"{settings}, interval")).cases["one"].observations.build_operator(8)
    assert (operator.name, operator.size) == (name, size)


@pytest.mark.parametrize(
    ("settings", "spec"),
    [
        ("obs_std: 0.5", {"name": "gaussian", "variance": [0.25] * 8}),
        ("obs_variance: 2", {"name": "gaussian", "variance": [2.0] * 8}),
        ("error: laplace, obs_variance: 2", {"name": "laplace", "variance": [2.0] * 8}),
        ("error: student_t, df: 4, obs_variance: 2", {"name": "student_t", "variance": [2.0] * 8, "df": 4.0}),
        (
            f"error: correlated_gaussian, covariance: {np.eye(8).tolist()}",
            {"name": "correlated_gaussian", "covariance": np.eye(8).tolist()},
        ),
    ],
)
def test_that_every_error_can_be_named(load, settings, spec):
    network = load(("obs_std: 0.5", settings)).cases["one"].observations.build(8)
    assert network.error.spec() == spec


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("{size: 8}", "{name: lorens63}"), "c.yaml:4: cases.one.model.name: unknown value 'lorens63'; did you mean"),
        (("{size: 8}", "{name: lorenz63, size: 8}"), "c.yaml:4: cases.one.model.size: unknown key; known: dt, error"),
        (("{size: 8}", "{size: 3}"), "c.yaml:4: cases.one.model.size: `size` must be at least 4, got 3"),
        (
            ("{size: 8}", "{error: {name: shoks}}"),
            "c.yaml:4: cases.one.model.error.name: unknown value 'shoks'",
        ),
        (("{size: 8}", "{error: {name: additive}}"), "c.yaml:4: cases.one.model.error.variance: is missing; add it"),
        (
            ("interval", "operator: evry, interval"),
            "c.yaml:5: cases.one.observations.operator: unknown value 'evry'",
        ),
        (("interval", "function: arctn, interval"), "c.yaml:5: cases.one.observations.function: unknown value 'arctn'"),
        (
            ("interval", "error: laplac, interval"),
            "c.yaml:5: cases.one.observations.error: unknown value 'laplac'",
        ),
        (("interval", "df: 3, interval"), "c.yaml:5: cases.one.observations.df: goes with `error: student_t`"),
        (
            ("interval", "operator: random, number: 3, interval"),
            "c.yaml:5: cases.one.observations.operator: `random` needs `seed`; add it",
        ),
        (
            ("interval", "operator: random, number: 9, seed: 1, interval"),
            "c.yaml:5: cases.one.observations.number: `number` must be 1 to 8",
        ),
        (
            ("interval", "operator: matrix, matrix: [[1, 2]], interval"),
            "c.yaml:5: cases.one.observations.matrix: the `matrix` has 2 columns, the state 8 variables",
        ),
        (("interval: 0.1", "times: [0.1, 0.12]"), "c.yaml:5: cases.one.observations.times: must be a whole number"),
        (("interval: 0.1", "times: [0.1], interval: 0.1"), "c.yaml:5: cases.one.observations.times: give exactly one"),
        (
            ("{kind: etkf}", "{kind: etkf, inflation: -1}"),
            "c.yaml:9: cases.one.methods.etkf.inflation: must be",
        ),
        (
            ("{kind: etkf}", "{kind: letkf, radius: 0}"),
            "c.yaml:9: cases.one.methods.etkf.radius: must be",
        ),
        (
            ("members: 5", "members: 5\n    expected: {etkf: {rmse_a: 0.2}}"),
            "c.yaml:8: cases.one.expected.etkf.source: is missing; add it",
        ),
        (
            ("members: 5", "members: 5\n    expected: {etkf: {rmse_a: 0.2, source: ''}}"),
            "c.yaml:8: cases.one.expected.etkf.source: must say where the score is from, got ''",
        ),
    ],
)
def test_that_a_mistake_in_a_case_is_named_with_its_place(load, tmp_path, change, expected):
    first, *others = refused(load, tmp_path, change)
    assert first.lstrip("/").startswith(expected)
    assert not others


def test_that_the_truth_may_have_another_model_than_the_methods(load, tmp_path):
    truth = "truth: {size: 8, forcing: 10, error: {name: additive, variance: 0.1}}\n    model"
    config = load(("model", truth))
    make_twins(config, RunFolder(tmp_path / "run"))
    with open_dataset(tmp_path / "run/one/twin.nc") as twin:
        assert model_of(twin).spec() == config.cases["one"].model.build().spec()
        assert truth_model_of(twin).spec() == config.cases["one"].truth.build().spec()


def test_that_irregular_times_are_kept_and_count_the_cycles(load, tmp_path):
    config = load(("interval: 0.1", "times: [0.1, 0.15, 0.4]"), ("    cycles: 6\n", ""))
    (row,) = run_experiment(config, tmp_path / "run")
    assert (row["cycles"], row["model_steps"]) == (3, 8 * 5)
    with open_dataset(tmp_path / "run/one/twin.nc") as twin:
        np.testing.assert_allclose(twin["time"], [0.1, 0.15, 0.4], rtol=1e-15)


def test_that_methods_believe_the_assumed_errors(load, tmp_path):
    right, wrong = load(), load(("obs_std: 0.5", "obs_std: 0.5, assumed: {obs_variance: 25}"))
    spreads = [run_experiment(config, tmp_path / name)[0]["spread_a"] for name, config in (("a", right), ("b", wrong))]
    assert spreads[1] > 1.5 * spreads[0]


def test_that_every_seed_has_its_own_twin_if_asked_for(load, tmp_path):
    config = load(("name: small", "name: small\nseeds: [1, 2]\ntwin_per_seed: true"))
    run_experiment(config, tmp_path / "run")
    files = [RunFolder(tmp_path / "run").analysis("one", "etkf", seed) for seed in (1, 2)]
    truths = [open_dataset(path)["truth"].values for path in files]
    assert abs(truths[0] - truths[1]).max() > 1
    assert "All 8 variables are observed" in write_report(tmp_path / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BENCH)
def test_that_every_case_of_the_benchmark_is_one_file_with_frozen_seeds_and_a_tracking_level(name):
    config = load_config(Experiment, BENCH[name])
    assert config.name == name
    assert len(config.seeds) >= 5
    assert config.twin_per_seed
    assert all(case.lock_level and case.length - case.burn_in >= 2000 for case in config.cases.values())


def test_that_the_names_of_cases_are_unique_over_the_benchmark():
    names = [case for path in BENCH.values() for case in yaml.safe_load(path.read_text(encoding="utf-8"))["cases"]]
    assert len(set(names)) == len(names)
