"""`scoreda assimilate --memory`: the same results within a budget, and what it takes is told before it runs."""

import json
import re
import tracemalloc

import numpy as np
import pytest
import xarray as xr
import yaml

from scoreda.assimilation import LETKF, assimilate, initial_ensemble
from scoreda.cli import main
from scoreda.datasets import Normaliser, observations, open_dataset, simulate
from scoreda.diffusion import EDM, MLP, ConvNet1d, KarrasDenoiser, Prior, save_prior
from scoreda.errors import ScoredaError
from scoreda.experiments import cells, scores, streaming
from scoreda.experiments.budget import MATRICES, budget_of, run_bytes
from scoreda.experiments.cells import generator, parts_of
from scoreda.experiments.config import Experiment
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.run import run_experiment
from scoreda.experiments.sweep import Sweep
from scoreda.models import Lorenz96
from scoreda.observations import GaussianError, Identity, Network
from scoreda.verification.innovations import departures

LETKF_2 = {"kind": "letkf", "radius": 2.0}
COUPLED = {"kind": "coupled_score_filter", "radius": 4.0, "steps": 2}


def settings(methods, size=8, **changes):
    case = {
        "model": {"size": size}, "observations": {"interval": 0.05, "obs_std": 1.0, "missing": 0.2}, "cycles": 10,
        "burn_in": 4, "members": 5, "spinup": 2.0, "methods": methods,
    }  # fmt: skip
    return {"name": "tiny", "cases": {"one": case}} | changes


def budget_that_streams(config, method="letkf"):
    """Return bytes that hold all but the run and the network."""
    case = config.cases["one"]
    parts = budget_of(case, method, case.cycles, 1e12, make_prior if config.needs_prior() else None).parts
    return sum(size for name, size in parts.items() if name not in ("the run", "the network")) + 1.0


def make_prior():
    network = ConvNet1d(width=8, blocks=1, kernel=3)
    generator_of = np.random.default_rng(1)
    for weights in network.parameters():
        weights.data.copy_(weights.new_tensor(0.1 * generator_of.normal(size=tuple(weights.shape))))
    return Prior(KarrasDenoiser(network, EDM()), Normaliser(2.3, 3.6))


def files_of(folder):
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def analysis_of(folder, method="letkf"):
    with open_dataset(RunFolder(folder).analysis("one", method, 1)) as ds:
        return ds.load()


def run_both(config, tmp_path, memory):
    run_experiment(config, tmp_path / "held")
    run_experiment(config, tmp_path / "within", memory=memory)
    return tmp_path / "held", tmp_path / "within"


def test_that_a_run_streamed_within_a_budget_is_the_run_to_the_bit(tmp_path):
    config = Experiment.model_validate(settings({"letkf": LETKF_2, "oi": {"kind": "oi"}}))
    memory = budget_that_streams(config, "oi")
    case = config.cases["one"]
    assert budget_of(case, "oi", 10, memory).streamed == run_bytes(case, "oi", 10) == 2 * 4 * 10 * 5 * 8
    held, within = run_both(config, tmp_path, memory)
    assert (held / "scores.csv").read_bytes() == (within / "scores.csv").read_bytes()
    assert files_of(held).keys() == files_of(within).keys()
    a, b = analysis_of(held, "oi"), analysis_of(within, "oi")
    assert [len(ds.attrs.pop("history").splitlines()) for ds in (a, b)] == [2, 2]
    assert {key: str(value) for key, value in a.attrs.items()} == {key: str(value) for key, value in b.attrs.items()}
    xr.testing.assert_identical(a, b.assign_attrs(a.attrs))
    assert {name: a[name].dtype for name in a.variables} == {name: b[name].dtype for name in b.variables}


def test_that_a_streamed_run_without_a_truth_is_scored_as_a_held_one(tmp_path):
    twin = simulate(Lorenz96(8), Network(Identity(8), GaussianError(1.0, 8), interval=0.05), 10, seed=1)
    twin.drop_vars(["truth", "truth_initial"]).to_netcdf(tmp_path / "obs.nc")
    given = settings({"letkf": LETKF_2})
    given["cases"]["one"] |= {"observations": {"file": str(tmp_path / "obs.nc"), "interval": 0.05, "obs_std": 1.0}}
    given["cases"]["one"] |= {"initial": {"kind": "climatology"}}
    config = Experiment.model_validate(given)
    held, within = run_both(config, tmp_path, budget_that_streams(config))
    assert (held / "scores.csv").read_bytes() == (within / "scores.csv").read_bytes()


def test_that_a_streamed_file_says_where_it_is_from(tmp_path):
    config = Experiment.model_validate(settings({"letkf": LETKF_2}))
    run_experiment(config, tmp_path, memory=budget_that_streams(config))
    attrs, twin = analysis_of(tmp_path).attrs, xr.open_dataset(RunFolder(tmp_path).twin("one")).attrs
    assert attrs["title"] == "one, letkf, seed 1"
    assert json.loads(attrs["scoreda_config"])["cell"]["method"] == "letkf"
    assert attrs["history"].splitlines()[1] == twin["history"]


def test_that_the_budget_is_no_part_of_the_result_and_may_change_when_a_run_is_continued(tmp_path):
    config = Experiment.model_validate(settings({"letkf": LETKF_2}))
    held, within = run_both(config, tmp_path, budget_that_streams(config))
    digests = [json.loads(RunFolder(path).result("one", "letkf", 1).read_text())["digest"] for path in (held, within)]
    assert digests[0] == digests[1]
    before = files_of(within / "one")
    run_experiment(config, within, memory=1e12)
    assert files_of(within / "one") == before


def test_that_without_ensembles_a_streamed_run_leaves_what_a_held_one_leaves(tmp_path):
    config = Experiment.model_validate(settings({"letkf": LETKF_2}, ensembles=False))
    held, within = run_both(config, tmp_path, budget_that_streams(config))
    left = {path.name for path in (within / "one" / "letkf" / "seed1").iterdir()}
    assert left == {"scores.json", "series.nc"} == {path.name for path in (held / "one" / "letkf" / "seed1").iterdir()}
    assert (held / "scores.csv").read_bytes() == (within / "scores.csv").read_bytes()


def test_that_an_interrupted_cell_leaves_no_analysis(tmp_path, monkeypatch):
    config = Experiment.model_validate(settings({"letkf": LETKF_2}))
    step = LETKF.step

    def interrupted(self, state, obs, rng):
        if obs.time > 0.2:
            raise KeyboardInterrupt
        return step(self, state, obs, rng)

    monkeypatch.setattr(LETKF, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(config, tmp_path, memory=budget_that_streams(config))
    assert not list((tmp_path / "one" / "letkf" / "seed1").iterdir())


def learned(tmp_path):
    (tmp_path / "prior").mkdir()
    save_prior(tmp_path / "prior", make_prior())
    return settings({"coupled": COUPLED}, size=96, prior=str(tmp_path / "prior"))


def test_that_a_learned_prior_in_tiles_gives_the_same_to_rounding(tmp_path):
    config = Experiment.model_validate(learned(tmp_path))
    memory = budget_that_streams(config, "coupled") + 7e3
    budget = budget_of(config.cases["one"], "coupled", 10, memory, make_prior)
    assert budget.tiling.tiles > 1 and budget.streamed and budget.bytes <= memory
    held, within = run_both(config, tmp_path, memory)
    a, b = analysis_of(held, "coupled"), analysis_of(within, "coupled")
    np.testing.assert_allclose(a["analysis"], b["analysis"], atol=1e-3)
    assert a["network_evals"].sum() > 0


def test_that_a_learned_prior_that_fits_as_a_whole_gives_the_same_bits(tmp_path):
    config = Experiment.model_validate(learned(tmp_path))
    held, within = run_both(config, tmp_path, 1e9)
    xr.testing.assert_equal(analysis_of(held, "coupled"), analysis_of(within, "coupled"))


def test_that_a_dry_run_tells_the_plan(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(learned(tmp_path)))
    memory = budget_that_streams(Experiment.model_validate(yaml.safe_load(path.read_text())), "coupled") + 7e3
    words = ["assimilate", str(path), "--out", str(tmp_path / "out"), "--dry-run", "--memory"]
    assert main([*words, f"{memory / 1e6}MB"]) == 0
    said = capsys.readouterr().out
    assert "# one, coupled, run: 38.4 kB, streamed to a file cycle by cycle" in said
    assert int(re.search(r"coupled, network: (\d+) tiles", said)[1]) > 1
    assert re.search(r"# memory: at most \d+ MB: 600 MB of libraries, .* of the method, .* of the network", said)
    assert main([*words, "2GB"]) == 0
    said = capsys.readouterr().out
    assert "streamed" not in said and "38.4 kB of the run" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["assimilate", "bench"])
@pytest.mark.parametrize(
    ("memory", "why"), [("300MB", r"too little .* Give --memory 47\dMB"), ("0", "too little"), ("8XB", "no amount")]
)
def test_that_a_budget_that_cannot_be_kept_is_refused_before_anything_is_written(
    tmp_path, capsys, command, memory, why
):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings({"letkf": LETKF_2})))
    words = [command, str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out"), "--memory", memory]
    assert main(words) == 2
    assert re.search(why, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def said_by(capsys, *words):
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["assimilate", "bench"])
def test_that_a_dry_run_without_a_budget_counts_what_one_with_a_budget_does(tmp_path, capsys, command):
    given = learned(tmp_path)
    given["cases"]["one"]["methods"] |= {"s4d": {"kind": "score4d", "window": 3}, "letkf": LETKF_2}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(given))
    words = command, tmp_path / "c.yaml", "--out", tmp_path / "out", "--dry-run"
    without, within = (said_by(capsys, *words, *more).splitlines() for more in ([], ["--memory", "1TB"]))
    told = [line for line in without if line.startswith("# memory: ")]
    assert told == [line for line in within if line.startswith("# memory: ")] and len(told) == 1
    assert " of the network" in told[0] and "# one, coupled, network" not in "\n".join(without)


def test_that_a_dry_run_without_a_budget_counts_the_matrices_of_a_method(tmp_path, capsys):
    coupled = {"kind": "coupled_score_filter", "radius": 4.0, "learned": 0.0}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings({"m": coupled}, size=3000)))
    said = said_by(capsys, "assimilate", tmp_path / "c.yaml", "--out", tmp_path / "out", "--dry-run")
    matrices = MATRICES["coupled_score_filter"] * 8 * 3000**2 / 1e6
    assert matrices < float(re.search(r"([\d.]+) MB of the method", said)[1]) < 1.05 * matrices


@pytest.mark.parametrize(("method", "states"), [(COUPLED, 5), ({"kind": "score4d"}, 8)])
def test_that_a_dry_run_counts_a_network_that_is_not_local(tmp_path, capsys, method, states):
    width, layers = 16, 2
    prior = Prior(KarrasDenoiser(MLP(8, width, layers), EDM()), Normaliser(2.3, 3.6))
    save_prior(tmp_path / "prior", prior)
    given = settings({"m": method})
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(given | {"prior": str(tmp_path / "prior")}))
    words = "assimilate", tmp_path / "c.yaml", "--out", tmp_path / "out", "--dry-run"
    told = re.search(r"# memory: at most .* ([\d.]+) kB of the network", said_by(capsys, *words))
    assert float(told[1]) * 1e3 >= 4 * states * width * layers


def test_that_every_cell_of_a_bench_stays_within_its_budget(tmp_path, monkeypatch):
    given, streamed = settings({"letkf": LETKF_2}, seeds=[1, 2]), []
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(given))
    monkeypatch.setattr(cells, "streamed", lambda *args: streamed.append(args) or streaming.streamed(*args))
    words = ["bench", str(tmp_path / "c.yaml"), "--device", "cpu", "--workers", "0", "--out"]
    assert main([*words, str(tmp_path / "held")]) == 0 and not streamed
    memory = budget_that_streams(Experiment.model_validate(given))
    assert main([*words, str(tmp_path / "within"), "--memory", f"{memory / 1e6}MB"]) == 0 and len(streamed) == 2
    assert (tmp_path / "held/scores.csv").read_bytes() == (tmp_path / "within/scores.csv").read_bytes()


def test_that_a_budget_too_small_for_a_tile_is_refused(tmp_path, capsys):
    config = learned(tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    memory = budget_that_streams(Experiment.model_validate(config), "coupled") + 500
    words = ["assimilate", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out"), "--memory", f"{memory / 1e6}MB"]
    assert main(words) == 2
    assert re.search(r"does not hold one tile .* Give more --memory", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_that_cycles_of_a_file_of_observations_count(tmp_path):
    config = Experiment.model_validate(settings({"letkf": LETKF_2}))
    case = config.cases["one"]
    simulate(case.model.build(), case.observations.build(8), 600, 1, 2.0).to_netcdf(tmp_path / "obs.nc")
    given = settings({"letkf": LETKF_2})
    given["cases"]["one"]["observations"] = {"file": str(tmp_path / "obs.nc"), "interval": 0.05, "obs_std": 1.0}
    del given["cases"]["one"]["cycles"]
    with pytest.raises(ScoredaError, match="154 kB of the departures"):
        run_experiment(Experiment.model_validate(given), tmp_path / "out", memory=400e6)
    assert not (tmp_path / "out").exists()


METHODS = [
    LETKF_2, {"kind": "letkf", "radius": 30.0}, {"kind": "enkf", "radius": 4.0}, {"kind": "denkf", "radius": 4.0},
    {"kind": "etkf"}, {"kind": "serial_ensrf", "radius": 4.0}, {"kind": "bootstrap_pf"}, {"kind": "enks", "lag": 4},
    {"kind": "oi"}, {"kind": "3dvar"}, {"kind": "coupled_score_filter", "radius": 4.0, "learned": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["kind"])
def test_that_a_step_takes_no_more_than_is_counted(tmp_path, method):
    config = Experiment.model_validate(settings({"m": method}, size=200))
    case, folder = config.cases["one"], RunFolder(tmp_path)
    cell = Sweep(config, folder).cells[0]
    twin = simulate(case.model.build(), case.observations.build(200), 6, 1, 1.0)
    parts = budget_of(case, "m", 6, 1e12).parts
    obs = list(observations(twin))
    E, rng = np.random.default_rng(2).normal(size=(5, 200)) + twin["truth_initial"].values, generator(1)
    made = case.methods["m"].build(parts_of(cell))
    state, _ = made.step(made.init(E), obs[0], rng)  # compiles
    tracemalloc.start()
    try:
        made = case.methods["m"].build(parts_of(cell))
        for y in obs[1:]:
            state, _ = made.step(state, y, rng)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= parts["the method"] + parts["the climatology"]


def test_that_departures_read_in_parts_are_the_departures(monkeypatch):
    config = Experiment.model_validate(settings({"letkf": LETKF_2}))
    case = config.cases["one"]
    twin = simulate(case.model.build(), case.observations.build(8), 12, 1, 2.0)
    twin["obs"][5:7] = np.nan
    E = initial_ensemble(twin, 5, rng=np.random.default_rng(1))
    run = assimilate(twin, LETKF(case.model.build(), 2.0), E, np.random.default_rng(2))
    whole = departures(run, burn_in=2)
    for values in (40, 100, 10**6):
        monkeypatch.setattr(scores, "PART_VALUES", values)
        parts = scores._departures(run, None, 2)
        np.testing.assert_array_equal(parts.forecast, np.delete(whole.forecast, (3, 4), axis=0))
        np.testing.assert_array_equal(parts.analysis, np.delete(whole.analysis, (3, 4), axis=0))
