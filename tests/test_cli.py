import csv
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors import safe_open
from safetensors.torch import save_file

from scoreda import __version__
from scoreda.cli import main
from scoreda.datasets import Normaliser
from scoreda.diffusion import EDM, ConvNet1d, KarrasDenoiser, Prior, save_prior

EXPERIMENT = """\
name: tiny
cases:
  one:
    model: {size: 8}
    observations: {interval: 0.05, obs_std: 1.0}
    cycles: 6
    burn_in: 2
    members: 5
    methods:
      letkf: {kind: letkf, radius: 2}
"""
TRAINING = """\
name: tiny
system: {model: {size: 8}, trajectories: 4, states: 4, spinup: 1}
network: {width: 4, blocks: 1, embedding: 4}
train: {steps: 4, batch: 4, warmup: 1, validate_every: 4}
"""
CSF = "cases.one.methods.csf={kind: coupled_score_filter, radius: 2}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with two configurations, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scoreda.experiments.cluster.local_workers", lambda: 0)
    (tmp_path / "e.yaml").write_text(EXPERIMENT, encoding="utf-8")
    (tmp_path / "t.yaml").write_text(TRAINING, encoding="utf-8")
    return tmp_path


def write_prior(folder, **network):
    weights = KarrasDenoiser(ConvNet1d(**dict(width=4, blocks=1, embedding=4) | network), EDM())
    save_prior(folder, Prior(weights, Normaliser(2.3, 3.6)))
    return folder


@pytest.fixture
def prior(here):
    """A folder with the weights of an untrained prior."""
    return write_prior(here / "prior")


@pytest.fixture
def run(capsys):
    """Run a command line; returns exit code, stdout and stderr."""

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def contents(folder):
    """Every file and folder, when it was changed, and what files hold."""
    kept = {p.relative_to(folder): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}
    return {path: (content, (folder / path).stat().st_mtime_ns) for path, content in kept.items()}


@pytest.fixture
def refuses(here, run):
    """Check that a command line exits with 2, that stderr has every text, and that nothing was made or changed."""

    def refuses(words, *texts):
        before = contents(here)
        code, _, err = run(*words)
        assert code == 2
        assert "Traceback" not in err
        for text in texts:
            assert text in err
        assert contents(here) == before

    return refuses


def test_that_simulating_then_assimilating_gives_files_scores_and_a_table(here, run):
    assert run("simulate", "e.yaml", "--out", "r")[:2] == (0, "r/one/twin.nc\n")
    twin = (here / "r/one/twin.nc").read_bytes()
    code, out, _ = run("assimilate", "e.yaml", "--out", "r")
    assert code == 0
    assert out.splitlines()[0].split()[:4] == ["case", "method", "members", "rmse_a"]
    assert (here / "r/one/letkf/seed1/analysis.nc").is_file()
    assert (here / "r/one/twin.nc").read_bytes() == twin


def test_that_simulating_lists_the_twins_of_all_seeds(here, run):
    code, out, _ = run("simulate", "e.yaml", "--out", "r", "twin_per_seed=true", "seeds=[1,2]")
    assert (code, out) == (0, "r/one/twin.seed1.nc\nr/one/twin.seed2.nc\n")
    assert all((here / line).is_file() for line in out.split())


def test_that_overrides_may_stand_before_the_configuration(here, run):
    assert run("simulate", "seeds=[1]", "e.yaml", "--out", "r")[:2] == (0, "r/one/twin.nc\n")
    code, out, _ = run("bench", "seeds=[7]", "e.yaml", "--list")
    assert code == 0
    assert out.splitlines()[0].endswith("seed7")


def test_that_overrides_alone_are_no_configuration(refuses):
    for command in ("simulate", "train", "assimilate", "bench"):
        refuses([command, "seeds=[1]", "--out", "d"], "CONFIG is missing", f"scoreda {command} --help")


def test_that_a_second_configuration_is_refused_where_one_is_expected(refuses):
    refuses(["simulate", "e.yaml", "--out", "d", "f.yaml"], "unrecognised arguments: f.yaml")


def test_that_scores_without_ensembles_are_continued_only_when_asked(here, run, refuses):
    kept = ["assimilate", "e.yaml", "--out", "r", "ensembles=false"]
    assert run(*kept)[0] == 0
    refuses(kept, "r holds results", "--resume", "--overwrite")


def test_that_analyses_are_continued_only_when_asked(here, run, refuses):
    run("assimilate", "e.yaml", "--out", "r")
    refuses(["assimilate", "e.yaml", "--out", "r"], "r holds results", "--resume", "--overwrite")
    assert run("assimilate", "e.yaml", "--out", "r", "--resume")[0] == 0
    assert run("assimilate", "e.yaml", "--out", "r", "--overwrite")[0] == 0


def test_that_a_run_is_verified_and_its_analyses_forecast(here, run):
    run("assimilate", "e.yaml", "--out", "r")
    analysis = here / "r/one/letkf/seed1/analysis.nc"
    assert run("verify", "r")[1].splitlines()[1].startswith("one   letkf")
    assert "rmse_a" in run("verify", analysis, "--burn-in", 2)[1]
    assert run("forecast", analysis, "--lead", 0.05, 0.1, "--every", 2, "--out", "f.nc")[:2] == (0, "f.nc\n")
    with xr.open_dataset("f.nc") as ds:
        assert dict(ds.sizes) == {"init_time": 3, "lead_time": 2, "member": 5, "space": 8}


def test_that_a_prior_is_trained_and_sampled(here, run):
    assert run("train", "t.yaml", "--out", "p")[0] == 0
    assert run("sample", "p", "--number", 3, "--size", 12, "--out", "s.nc")[0] == 0
    with xr.open_dataset("s.nc") as ds:
        assert ds["sample"].shape == (3, 12)
        assert np.isfinite(ds["sample"]).all()


def test_that_a_training_configuration_simulates_its_archive(here, run):
    assert run("simulate", "t.yaml", "--out", "p")[:2] == (0, "p/archive.nc\n")
    assert run("train", "t.yaml", "--out", "p")[0] == 0


def test_that_bench_runs_several_configurations_into_folders_of_their_names(here, run):
    (here / "f.yaml").write_text(EXPERIMENT.replace("tiny", "other"), encoding="utf-8")
    assert run("bench", "e.yaml", "f.yaml", "--list")[1] == "tiny one letkf seed1\nother one letkf seed1\n"
    assert run("bench", "e.yaml", "f.yaml", "--out", "b", "seeds=[2]")[0] == 0
    assert {p.name for p in (here / "b").iterdir()} == {"tiny", "other", "report.html", "summary.csv"}
    with open(here / "b/summary.csv", encoding="utf-8", newline="") as f:
        assert [(row["run"], row["case"], row["seeds"]) for row in csv.DictReader(f)] == [
            ("other", "one", "1"),
            ("tiny", "one", "1"),
        ]
    assert (here / "b/tiny/one/letkf/seed2/analysis.nc").is_file()
    before = (here / "b/tiny/report.html").stat().st_mtime_ns
    assert run("report", "b/tiny")[:2] == (0, "b/tiny/report.html\n")
    assert (here / "b/tiny/report.html").stat().st_mtime_ns > before


def test_that_bench_runs_what_an_earlier_tuning_chose(here, run, refuses):
    (here / "f.yaml").write_text(EXPERIMENT.replace("kind: letkf", "kind: letkf, tune: {radius: [2.0, 4.0]}"))
    assert "tune" in (here / "f.yaml").read_text()
    assert run("bench", "f.yaml", "--out", "a")[0] == run("bench", "f.yaml", "--out", "b", "--tuned", "a")[0] == 0
    assert (here / "a/scores.csv").read_bytes() == (here / "b/scores.csv").read_bytes()
    refuses(["bench", "f.yaml", "--out", "c", "--tuned", "b"], "there is no 'b/tuning.csv'", "scoreda bench` leaves")
    assert not (here / "c").exists()


def test_that_bench_reports_what_has_run_where_cells_failed(here, run):
    code, out, err = run("bench", "e.yaml", "--out", "b", "cases.one.methods.pf={kind: optimal_pf}")
    assert (code, out) == (2, "of what has run: b/report.html\n")
    assert "1 cells failed, all others are finished:" in err and "one, pf, seed 1: " in err
    assert "letkf" in (here / "b/report.html").read_text(encoding="utf-8")


def test_that_a_reader_may_have_seen_enough(here):
    command = [sys.executable, "-m", "scoreda", "bench", "e.yaml", "--list"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 0


@pytest.mark.parametrize("words", [[], ["--list"], ["--dry-run"]])
def test_that_configurations_of_one_name_are_refused(here, refuses, words):
    (here / "f.yaml").write_text(EXPERIMENT.replace("cycles: 6", "cycles: 7"), encoding="utf-8")
    for other in ("e.yaml", "f.yaml"):
        expected = f"e.yaml and {other} are all called 'tiny'"
        refuses(
            ["bench", "e.yaml", other, "--out", "b", *words], expected, "Give each file once, and each `name` to one"
        )


def test_that_a_dry_run_shows_what_it_will_take_and_writes_nothing(here, run):
    before = contents(here)
    code, out, _ = run("assimilate", "e.yaml", "--out", "r", "--dry-run", "seeds=[1, 2]")
    assert code == 0
    assert "cycles: 6" in out
    assert "# one: state (8,), observations (6, 8)" in out
    assert "# one, letkf: ensemble (5, 8), analysis.nc 1.92 kB for each seed" in out  # 2 * 6 * 5 * 8 * 4 bytes
    assert "# cells: 2; files 3.84 kB" in out
    out = run("train", "t.yaml", "--out", "p", "--dry-run")[1]
    parameters = sum(p.numel() for p in ConvNet1d(width=4, blocks=1, embedding=4).parameters())
    assert f"# network: {parameters:,} parameters" in out
    assert "# archive.nc: states (4, 4, 8), 512 B" in out
    assert contents(here) == before


def test_that_the_demo_takes_a_prior_and_overrides(prior, run):
    code, out, _ = run("demo", "--prior", prior, "--dry-run", "cases.bao2024.cycles=177")
    assert code == 0
    assert f"prior: {prior}" in out
    assert "cycles: 177" in out


def test_that_a_dry_run_reads_back_as_the_configuration(here, run):
    (here / "again.yaml").write_text(run("assimilate", "e.yaml", "--out", "r", "--dry-run")[1], encoding="utf-8")
    assert run("bench", "again.yaml", "--list")[1] == "tiny one letkf seed1\n"


def test_that_quiet_leaves_only_results(here, run):
    assert run("assimilate", "e.yaml", "--out", "a")[2].startswith("one, letkf, seed 1: ")
    assert run("assimilate", "e.yaml", "--out", "b", "--quiet")[2] == ""


def test_that_info_names_versions_and_devices(run):
    code, out, _ = run("info")
    assert code == 0
    assert f"scoreda        {__version__}" in out
    assert torch.__version__.split("+")[0] in out


def test_that_debug_shows_the_traceback(here):
    with pytest.raises(ValueError, match="no file 'none.yaml'"):
        main(["assimilate", "none.yaml", "--out", "r", "--debug"])


def test_that_the_module_and_its_exit_code_work_in_another_process(here):
    done = subprocess.run(
        [sys.executable, "-m", "scoreda", "assimilate", "e.yaml", "--out", "r", "cases.one.cycles=0"],
        capture_output=True, text=True,
    )  # fmt: skip
    expected = "scoreda: command line: cases.one.cycles: must be greater than or equal to 1, got 0\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


ASSIMILATE = ("assimilate", "e.yaml", "--out", "r")


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("cases.one.modle.size=8", "cases.one.modle: unknown key; did you mean 'model'?"),
        ("cases.one.cycles=many", "cases.one.cycles: must be a valid integer, got 'many'"),
        ("cases.one.model.forcing=.nan", "cases.one.model.forcing: must be a finite number, got nan"),
        ("cases.one.members=0", "cases.one.members: must be greater than or equal to 2, got 0"),
        ("cases.one.members=1", "cases.one.members: must be greater than or equal to 2, got 1"),
        ("cases.one.methods.letkf.members=1", "cases.one.methods.letkf.members: must be greater than or equal to 2"),
        ("cases.one.observations.obs_std=0", "cases.one.observations.obs_std: must be greater than 0, got 0"),
        ("cases.one.observations={operator: sites, sites: [9], obs_std: 1, interval: 0.05}", "site 9 is out of range"),
    ],
)
def test_that_bad_settings_are_refused(refuses, override, text):
    refuses([*ASSIMILATE, override], "command line: ", text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda ds: ds.rename(obs="observed"), "has no variable 'obs'; did you mean 'observed'?"),
        (lambda ds: ds.isel(obs=slice(7)), "`obs` has 7 values per time, the operator 8. Mark missing values with NaN"),
        (lambda ds: ds.isel(time=slice(4)), "holds 4 observation times, but `cycles` asks for 6"),
        (lambda ds: ds.where(False), "holds nothing but NaN"),
        (lambda ds: ds.assign_coords(time=ds["time"] + 0.01), "whole numbers of model steps"),
        (lambda ds: ds.drop_vars("time"), "no variable 'time'"),
        (lambda ds: ds.isel(time=slice(None, None, -1)), "`time` must increase"),
    ],
)
def test_that_a_bad_file_of_observations_is_refused(here, refuses, change, text):
    values = np.random.default_rng(1).normal(size=(6, 8))
    ds = xr.Dataset({"obs": (("time", "obs"), values)}, {"time": 0.05 * np.arange(1, 7)}, {"initial_time": 0.0})
    change(ds.reset_coords("obs")).to_netcdf("o.nc")
    refuses([*ASSIMILATE, "cases.one.observations.file=o.nc", "cases.one.initial.kind=climatology"], "o.nc", text)


def test_that_a_file_that_is_no_netcdf_is_refused(here, refuses):
    (here / "o.nc").write_text("text")
    refuses([*ASSIMILATE, "cases.one.observations.file=o.nc"], "cannot read 'o.nc' as netCDF")
    refuses([*ASSIMILATE, "cases.one.observations.file=p.nc"], "there is no file 'p.nc'")


def truncate(path):
    path.write_bytes(path.read_bytes()[:200])


def pickle(path):
    torch.save({"a": torch.ones(1)}, path)


def change_architecture(path):
    header, weights = read_weights(path)
    save_file(weights, path, {key: text.replace('"width": 4', '"width": 8') for key, text in header.items()})


def lose_weights(path):
    scale_weights(path, float("nan"))


def scale_weights(path, factor):
    header, weights = read_weights(path)
    save_file({name: factor * (w + 1) for name, w in weights.items()}, path, header)


def read_weights(path):
    with safe_open(path, "pt") as f:
        return f.metadata(), {key: f.get_tensor(key) for key in f.keys()}


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (truncate, "truncated"),
        (pickle, "pickle"),
        (change_architecture, "do not fit the architecture"),
        (lose_weights, "hold NaN or Inf. Copy or train it again."),
    ],
)
def test_that_a_bad_checkpoint_is_refused(prior, refuses, damage, text):
    damage(prior / "weights.safetensors")
    refuses([*ASSIMILATE, f"prior={prior.name}", CSF], "weights.safetensors", text)
    refuses(["sample", prior, "--number", 2, "--out", "s.nc"], text)
    refuses(["demo", "--prior", prior, "--out", "d"], text)


def test_that_a_prior_of_other_states_is_refused_before_a_finished_run_is_replaced(here, prior, run, refuses):
    assert run(*ASSIMILATE)[0] == 0
    write_prior(here / "two", channels=2)
    expected = (
        "the prior 'two' does not fit the case 'one' of 8 variables: the prior is of states (N, 2, Nx), got (1, 8)"
    )
    refuses([*ASSIMILATE, "--overwrite", "prior=two", CSF], expected)
    refuses([*ASSIMILATE, "--dry-run", "prior=two", CSF], expected)
    refuses(
        ["demo", "--prior", "two", "--out", "r"], "the prior 'two' does not fit the case 'sakov2008' of 40 variables"
    )


def test_that_a_prior_whose_estimates_are_not_finite_is_refused(here, refuses):
    write_prior(here / "large")
    scale_weights(here / "large" / "weights.safetensors", 1e30)
    refuses([*ASSIMILATE, "prior=large", CSF], "does not fit the case 'one'", "its estimate of a state: NaN or Inf")


def test_that_an_unknown_prior_is_refused(refuses):
    refuses([*ASSIMILATE, "prior=lorens", CSF], "no prior 'lorens'")


def test_that_an_unwritable_folder_is_refused(here, refuses):
    (here / "file").touch()
    refuses(["assimilate", "e.yaml", "--out", "file/r"], "cannot write", "Choose a folder you may write to")
    refuses(["train", "t.yaml", "--out", "file/r"], "cannot write")
    (here / "r").mkdir()
    (here / "r/one").touch()
    refuses(ASSIMILATE, "cannot write 'r/one/twin.nc'")


def test_that_a_folder_of_another_run_is_refused(run, refuses, prior):
    run("assimilate", "e.yaml", "--out", "r")
    refuses(
        ["assimilate", "e.yaml", "--out", "r", "--resume", "cases.one.cycles=7"],
        "r holds a run of another configuration: `cases.one.cycles` differs", "--overwrite",
    )  # fmt: skip
    refuses(["train", "t.yaml", "--out", "r", "--resume"], "r holds a run of another configuration")
    refuses(["demo", "--prior", prior, "--out", "r"], "r holds a run of another configuration")


def test_that_a_model_that_blows_up_leaves_everything_as_it_was(run, refuses):
    stiff = ("cases.one.model.forcing=1e9", "cases.one.spinup=0.05")
    refuses([*ASSIMILATE, *stiff], "NaN or Inf", "needs a smaller dt")
    assert run(*ASSIMILATE)[0] == 0
    refuses([*ASSIMILATE, "--overwrite", *stiff], "NaN or Inf")


@pytest.mark.parametrize("text", ["a: [b\n", "- a\n", "cases: null\n", "cases: {a: null}\n", "cases: [a]\n", "\xff"])
def test_that_a_damaged_configuration_of_a_run_is_refused(here, refuses, text):
    (here / "r").mkdir()
    (here / "r/config.yaml").write_bytes(text.encode("latin-1"))
    for words in (ASSIMILATE, [*ASSIMILATE, "--overwrite"], ["report", "r"], ["bench", "e.yaml", "--out", "r"]):
        refuses(words, "r/config.yaml: ", "Restore the file, or choose another folder.")


@pytest.mark.parametrize(
    "text", ["garbage\n1,2\n", "case,method,seed\none,letkf,zz\n", "case,method,seed\none\n", "\xff\n1"]
)
def test_that_a_damaged_table_of_scores_is_refused(here, run, refuses, text):
    run(*ASSIMILATE)
    (here / "r/scores.csv").write_bytes(text.encode("latin-1"))
    for command in ("report", "verify"):
        refuses([command, "r"], "r/scores.csv:2: names no case, method and seed. Remove the damaged file")
    (here / "r/scores.csv").unlink()
    assert run("verify", "r")[0] == 0


def test_that_a_damaged_result_is_named_and_computed_again_once_it_is_removed(here, run, refuses):
    run(*ASSIMILATE)
    result = here / "r/one/letkf/seed1/scores.json"
    for text in ("{", "[]", '{"digest": 1}'):
        result.write_text(text)
        refuses([*ASSIMILATE, "--resume"], "r/one/letkf/seed1/scores.json: damaged", "Remove it")
    result.unlink()
    assert run(*ASSIMILATE, "--resume")[0] == 0


def test_that_a_mistake_of_ours_is_one_line_and_not_bad_input(run, monkeypatch):
    def fail():
        raise KeyError("first\nsecond")

    monkeypatch.setattr("scoreda.experiments.info.info", fail)
    code, _, err = run("info")
    assert code == 1
    assert err.startswith("scoreda: internal error: KeyError: ") and err.count("\n") == 1
    assert err.endswith("; run with --debug for the traceback, and report it\n")
    with pytest.raises(KeyError):
        main(["info", "--debug"])


def test_that_where_states_go_is_checked_before_they_are_computed(here, prior, run, refuses, monkeypatch):
    run(*ASSIMILATE)
    (here / "file").touch()
    forecast = ["forecast", "r/one/letkf/seed1/analysis.nc", "--lead", 0.05]
    monkeypatch.setattr(Prior, "sample", lambda *_: pytest.fail("drawn"))
    monkeypatch.setattr("scoreda.assimilation.forecast", lambda *_, **__: pytest.fail("forecast"))
    for words in (["sample", prior, "--number", 2], forecast):
        refuses([*words, "--out", "file/s.nc"], "cannot write 'file/s.nc'", "Choose a folder you may write to")
    kept = contents(here)
    for words in (["sample", prior, "--number", 2], forecast):
        code, _, err = run(*words, "--out", "r")
        assert (code, err) == (2, "scoreda: cannot write 'r': it is a folder. Give the name of a file in it.\n")
    refuses([*forecast, "--every", 0, "--out", "f.nc"], "--every must be at least 1, got 0")
    assert contents(here) == kept


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_that_a_device_that_is_not_there_is_refused(refuses):
    refuses([*ASSIMILATE, "--device", "cuda"], "device 'cuda' is not there", "sees 0 CUDA devices", "--device cpu")
    refuses(["train", "t.yaml", "--out", "p", "--device", "cuda:1"], "device 'cuda:1' is not there")
    for words in (ASSIMILATE, ["train", "t.yaml", "--out", "p"], ["demo"], ["bench", "e.yaml"]):
        refuses([*words, "--dry-run", "--device", "cuda"], "device 'cuda' is not there")


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:"])
def test_that_a_device_without_double_precision_or_of_another_name_is_refused(refuses, name):
    refuses([*ASSIMILATE, "--device", name], f"unknown device '{name}'. Use auto, cpu, cuda or cuda:1.")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["assimilat", "e.yaml"], "invalid choice: 'assimilat'"),
        ([*ASSIMILATE, "--ot", "x"], "unrecognised arguments: --ot"),
        ([*ASSIMILATE, "f.yaml"], "unrecognised arguments: f.yaml"),
        (["info", "a=b"], "unrecognised arguments: a=b"),
        (["assimilate", "e.yaml"], "--out"),
        (["bench", "e.yaml", "--workers", "-1"], "the number of workers must be at least 0, got -1."),
        (["assimilate", "f.yaml", "--out", "r"], "there is no file 'f.yaml'"),
        (["verify", "nowhere"], "there is no file 'nowhere'"),
        (["sample", "x", "--number", "0", "--out", "s.nc"], "--number and --size must be at least 1"),
        (["simulate", "t.yaml", "--out", "r", "system=null", "data={file: a, variable: b}"], "nothing to simulate"),
    ],
)
def test_that_a_bad_command_line_is_refused(refuses, words, text):
    refuses(words, text)
