"""The wheel, installed into a clean environment, runs the demo outside a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")
FEWER = (
    "cases.sakov2008.cycles=60",
    "cases.sakov2008.burn_in=20",
    "cases.bao2024.cycles=30",
    "cases.bao2024.burn_in=10",
)

pytestmark = pytest.mark.slow


def call(*words, cwd):
    """Run a command away from the checkout and from this environment; return its output."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_that_the_wheel_holds_configurations_prior_and_types_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "scoreda/configs/demo.yaml",
        "scoreda/configs/lorenz96.yaml",
        "scoreda/priors/lorenz96/weights.safetensors",
        "scoreda/priors/lorenz96/card.md",
        "scoreda/experiments/report.css",
        "scoreda/py.typed",
    } <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"scoreda"}
    assert wheel.stat().st_size < 3e6


def test_that_the_demo_runs_from_the_wheel_in_a_clean_environment(wheel, tmp_path):
    call(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    bin_ = tmp_path / "venv/bin"
    call(bin_ / "python", *PIP, "install", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    home = call(bin_ / "python", "-c", "import scoreda; print(scoreda.__file__)", cwd=tmp_path)
    assert Path(home.strip()).is_relative_to(tmp_path / "venv")
    table = call(bin_ / "scoreda", "demo", *FEWER, cwd=tmp_path)
    assert {line.split()[0] for line in table.splitlines() if line} >= {"case", "sakov2008", "bao2024"}
    assert (tmp_path / "runs/demo/report.html").stat().st_size > 10_000
