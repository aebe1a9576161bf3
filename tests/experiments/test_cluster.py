"""Where cells run: workers of other code are refused, and a cluster gives the same scores as one process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from test_sweep import rows_of

import scoreda
from scoreda import __version__
from scoreda.errors import ScoredaError
from scoreda.experiments.cluster import executor, local_workers
from scoreda.experiments.identity import _hash_of, asker, check_workers, identity

TINY = """\
name: tiny
seeds: [1, 2, 3]
twin_per_seed: true
ensembles: false
cases:
  one:
    model: {size: 8}
    observations: {interval: 0.05, obs_std: 1.0}
    cycles: CYCLES
    members: 5
    lock_level: 0.5
    methods:
      etkf: {kind: etkf, inflation: 1.05}
      enkf: {kind: enkf, inflation: 1.05}
      letkf: {kind: letkf, radius: 2, inflation: 1.02}
"""
OURS = {"version": "0.2.0", "commit": "abc1234", "sources": "0123456789abcdef"}


@pytest.mark.parametrize(
    ("theirs", "text"),
    [
        (OURS | {"version": "0.1.0"}, "scoreda 0.1.0 (commit abc1234, sources 01234567)"),
        (OURS | {"sources": "fedcba9876543210", "commit": ""}, "scoreda 0.2.0 (sources fedcba98)"),
        ({"version": "0.2.0", "error": "No module named 'pydantic'"}, "scoreda 0.2.0 (No module named 'pydantic')"),
        ({"error": "No module named 'scoreda'"}, "no scoreda (No module named 'scoreda')"),
    ],
)
def test_that_a_worker_of_another_scoreda_is_refused_with_the_fix(theirs, text):
    expected = f"the worker tcp://b:1 has {text}, but the sweep is run by scoreda 0.2.0 (commit abc1234, "
    with pytest.raises(ScoredaError, match=re.escape(expected) + ".*Install .* the same commit.* in the environment"):
        check_workers({"tcp://a:1": OURS, "tcp://b:1": theirs}, OURS)


def test_that_a_worker_of_the_same_sources_is_taken_whatever_git_tells():
    check_workers({"tcp://a:1": OURS, "tcp://b:1": OURS | {"commit": "abc1234-dirty"}}, OURS)


def test_that_any_change_of_a_source_changes_the_hash(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.py").write_text("x = 1\n")
    found = [_hash_of(tmp_path)]
    (tmp_path / "a/b.py").write_text("x = 2\n")
    found.append(_hash_of(tmp_path))
    (tmp_path / "a/b.py").rename(tmp_path / "a/c.py")
    found.append(_hash_of(tmp_path))
    (tmp_path / "a/notes.txt").write_text("no source")
    assert len({*found}) == 3 and _hash_of(tmp_path) == found[-1]


def test_that_a_process_tells_what_it_runs_even_if_it_cannot_load_it(monkeypatch):
    assert asker()() == identity() and identity()["version"] == __version__
    monkeypatch.setitem(sys.modules, "scoreda.experiments.identity", None)
    assert asker()()["version"] == __version__ and "sources" not in asker()()
    monkeypatch.setitem(sys.modules, "scoreda", None)
    assert asker()().keys() == {"error"}


@pytest.mark.parametrize("workers", [-1, -8])
def test_that_a_negative_number_of_workers_is_refused(workers):
    with (
        pytest.raises(ScoredaError, match=f"at least 0, got {workers}. 0 runs the cells one by one"),
        executor(workers),
    ):
        pass


def test_that_a_scheduler_without_workers_is_refused_with_the_fix():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        expected = rf"no worker after 0\.1 s.*`dask worker {cluster.scheduler_address} "
        with (
            pytest.raises(ScoredaError, match=expected),
            executor(scheduler=cluster.scheduler_address, patience=0.1),
        ):
            pass


def test_that_a_worker_of_several_threads_is_refused_with_the_fix():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=3, processes=False, dashboard_address=None
    ) as cluster:
        expected = r"has 3 threads, .*`dask worker ADDRESS --nworkers 3 --nthreads 1`"
        with pytest.raises(ScoredaError, match=expected), executor(scheduler=cluster.scheduler_address):
            pass


def test_that_a_sweep_takes_every_processor_if_it_can(monkeypatch, caplog):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    monkeypatch.setattr("scoreda.experiments.cluster.find_spec", lambda name: name)
    assert local_workers() == 3
    monkeypatch.setattr("scoreda.experiments.cluster.find_spec", lambda name: None)
    with caplog.at_level("INFO", logger="scoreda"):
        assert local_workers() == 0
    assert "one after the other: distributed sweeps need Dask: pip install" in caplog.text


def test_that_an_unreachable_scheduler_is_refused_with_the_fix(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("scoreda.experiments.cluster.TIMEOUT", 0.5)
    with pytest.raises(ScoredaError, match="no scheduler answers at 'tcp://127.0.0.1:9'.*dask scheduler"):
        with executor(scheduler="tcp://127.0.0.1:9"):
            pass


def bench(config, out, *words):
    command = [sys.executable, "-m", "scoreda", "bench", str(config), "--out", str(out), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(what, seconds=120):
    for _ in range(int(10 * seconds)):
        if what():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler on loopback: its address, and what starts a worker of it, with some environment."""
    pytest.importorskip("distributed")
    dask, address, processes = [sys.executable, "-m", "dask"], tmp_path / "scheduler.json", []

    def start(*words, **environment):
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
        words = [*dask, *words, "--no-dashboard", "--scheduler-file", address]
        processes.append(subprocess.Popen(words, env=os.environ | environment, **quiet))
        return processes[-1]

    start("scheduler", "--host", "127.0.0.1", "--port", "0")
    wait_for(address.is_file)
    worker = partial(start, "worker", "--nthreads", "1", "--no-nanny", OPENBLAS_NUM_THREADS="2")
    yield json.loads(address.read_text())["address"], worker
    for process in reversed(processes):
        process.kill()
        process.wait()


def stub(folder):
    """A scoreda without the modules of this one."""
    folder.mkdir()
    (folder / "__init__.py").write_text('__version__ = "0.0.1"\n')


def other_commit(folder):
    """This scoreda, with another line in one of its files."""
    shutil.copytree(Path(scoreda.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with open(folder / "errors.py", "a") as f:
        f.write("# another commit\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "text"),
    [(stub, "has scoreda 0.0.1 (ModuleNotFoundError: "), (other_commit, f"has scoreda {__version__} (sources ")],
)
def test_that_a_worker_process_of_another_scoreda_is_refused_and_nothing_is_written(tmp_path, cluster, make, text):
    address, worker = cluster
    make(tmp_path / "scoreda")
    worker(PYTHONPATH=str(tmp_path))
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY.replace("CYCLES", "30"), encoding="utf-8")
    process = bench(config, tmp_path / "b", "--scheduler", address)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert text in output and "in the environment of all workers, and start them again." in output
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_that_a_cluster_that_loses_a_worker_gives_the_same_scores_to_the_bit(tmp_path, cluster):
    address, worker = cluster
    workers = [worker(), worker()]
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY.replace("CYCLES", "3000"), encoding="utf-8")
    process = bench(config, tmp_path / "b", "--scheduler", address)
    wait_for(lambda: list((tmp_path / "b").rglob("scores.json")))
    os.kill(workers[0].pid, signal.SIGKILL)
    assert len(list((tmp_path / "b").rglob("scores.json"))) < 9
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    serial = bench(config, tmp_path / "a", "--workers", "0")
    output, _ = serial.communicate(timeout=300)
    assert serial.returncode == 0, output
    assert len(rows_of(tmp_path / "a/scores.csv")) == 9
    assert (tmp_path / "a/scores.csv").read_bytes() == (tmp_path / "b/scores.csv").read_bytes()


@pytest.mark.slow
def test_that_a_sweep_that_is_killed_goes_on_where_it_was(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY.replace("CYCLES", "3000"), encoding="utf-8")
    process = bench(config, tmp_path / "a", "--workers", "0")
    wait_for(lambda: len(list((tmp_path / "a").rglob("scores.json"))) >= 2)
    process.kill()
    process.communicate()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("scores.json")}
    assert 2 <= len(done) < 9
    again = bench(config, tmp_path / "a", "--workers", "2", "--memory", "8GB")
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert f"(1 of {9 - len(done)}, " in output
    assert all(path.stat().st_mtime_ns == changed for path, changed in done.items())
    assert len(rows_of(tmp_path / "a/scores.csv")) == 9
