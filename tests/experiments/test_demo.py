"""The demo: its folder is continued by the same demo, replaced by another one, and never taken from another run."""

import pytest
import xarray as xr

from scoreda.errors import ScoredaError
from scoreda.experiments.demo import demo_config, run_demo
from scoreda.experiments.folder import RunFolder

SMALL = (
    "cases.sakov2008.model.size=8", "cases.sakov2008.cycles=6", "cases.sakov2008.burn_in=2",
    "cases.sakov2008.expected={}", "cases.sakov2008.methods={letkf: {kind: letkf, radius: 2}}",
    "cases.bao2024.model.size=8", "cases.bao2024.cycles=4", "cases.bao2024.burn_in=1", "cases.bao2024.expected={}",
    "cases.bao2024.methods={coupled: {kind: coupled_score_filter, radius: 2, members: 5}}",
)  # fmt: skip
CELLS = {"sakov2008/letkf", "bao2024/coupled"}


def changed_at(folder):
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def cycles_of(folder):
    with xr.open_dataset(RunFolder(folder).analysis("sakov2008", "letkf", 1)) as run:
        return run.sizes["time"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder with a small demo, and its rows."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    return out, run_demo(demo_config(overrides=SMALL), out)


def test_that_the_demo_leaves_twins_analyses_scores_and_a_report(demo):
    out, rows = demo
    assert {f"{row['case']}/{row['method']}" for row in rows} == CELLS
    found = set(changed_at(out))
    assert {f"{cell}/seed1/{name}" for cell in CELLS for name in ("analysis.nc", "scores.json")} <= found
    assert {"report.html", "summary.csv", "scores.csv", "timings.csv", "prior_samples.nc", "config.yaml"} <= found
    assert "The learned prior" in (out / "report.html").read_text(encoding="utf-8")


def test_that_the_same_demo_skips_what_has_run(demo):
    out, rows = demo
    before = changed_at(out)
    assert run_demo(demo_config(overrides=SMALL), out) == rows
    after = changed_at(out)
    written = {path for path in after if after[path] != before.get(path)}
    assert written == {"report.html", "summary.csv", "scores.csv", "timings.csv"}


def test_that_another_demo_takes_its_place(demo):
    out, _ = demo
    assert cycles_of(out) == 6
    run_demo(demo_config(overrides=[*SMALL, "cases.sakov2008.cycles=7"]), out)
    assert cycles_of(out) == 7


def test_that_the_folder_of_another_run_is_left_alone(tmp_path):
    RunFolder(tmp_path).claim({"name": "mine", "cases": {}})
    before = changed_at(tmp_path)
    with pytest.raises(ScoredaError, match="another configuration: `name` differs"):
        run_demo(demo_config(overrides=SMALL), tmp_path)
    assert changed_at(tmp_path) == before
