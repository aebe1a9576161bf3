import ast
import subprocess
import sys
from pathlib import Path

import pytest

import scoreda

ROOT = Path(scoreda.__file__).parent
ORDER = (
    "errors", "allocator", "models", "observations", "datasets", "diffusion", "assimilation", "verification",
    "plotting", "experiments", "cli",
)  # fmt: skip
HEAVY = {"torch", "matplotlib", "pydantic", "netCDF4", "dask", "xarray", "numba", "scipy"}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in ORDER)


def imports_of(path):
    """Yield the dotted names of everything a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def loaded_by(code):
    """Return the heavy packages that a fresh interpreter has loaded after `code`."""
    code += f"; import sys; print(*sorted({HEAVY} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[-2].split()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_that_imports_point_one_way_only(path):
    own = ORDER.index(room_of(path))
    for name in imports_of(path):
        top, *rest = name.split(".")
        if top == "scoreda" and rest[0] in ORDER:
            assert ORDER.index(rest[0]) <= own, f"{room_of(path)} must not import {name}"


@pytest.mark.parametrize(
    ("package", "rooms"),
    [("pydantic", {"experiments"}), ("matplotlib", {"plotting", "experiments"}), ("argparse", {"cli"})],
)
def test_that_some_packages_stay_in_their_room(package, rooms):
    users = {room_of(path) for path in FILES if package in {name.split(".")[0] for name in imports_of(path)}}
    assert users == rooms


def test_that_threads_are_told_before_numpy_reads_how_many():
    code = "from scoreda.experiments.threads import one_thread; one_thread(); import sys; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_that_importing_scoreda_loads_nothing_heavy():
    assert loaded_by("import scoreda") == []


def test_that_help_loads_nothing_heavy():
    code = (
        "import contextlib; from scoreda.cli import main\nwith contextlib.suppress(SystemExit): main(['--help'])\npass"
    )
    assert loaded_by(code) == []


def test_that_training_assimilating_and_sampling_load_neither_pydantic_nor_netcdf():
    code = "import scoreda.experiments.train, scoreda.experiments.sample, scoreda.diffusion, scoreda.assimilation"
    assert not {"pydantic", "netCDF4", "dask", "matplotlib"} & set(loaded_by(code))
