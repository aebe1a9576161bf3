"""The packages beside which scoreda is timed, where they are installed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

from speed_rows.table import Timer

__all__ = ["Peers"]

WORKER = Path(__file__).parents[1] / "workers" / "dapper_works.py"


@dataclass(frozen=True)
class Peers:
    """Where the others are.

    Attributes:
        dapper_python: Interpreter of an environment with DAPPER.
        folder: Holds what `pip install --target` left, and the checkouts of repositories that are no packages.
    """

    dapper_python: str | None = None
    folder: Path | None = None

    @cached_property
    def dapper(self) -> "Dapper | None":
        """DAPPER in a process of its own."""
        return Dapper(self.dapper_python) if self.dapper_python else None

    def installed(self, name: str) -> bool:
        """Tell whether the folder holds a package."""
        return self.folder is not None and (self.folder / name).is_dir()

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Let the folder be imported from, for a while."""
        sys.path.append(str(self.folder))
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))

    def without_init(self, name: str) -> None:
        """Let the modules of a package be imported without its `__init__`, which wants more than they do."""
        package = ModuleType(name)
        package.__path__ = [str(self.folder / name)]
        sys.modules[name] = package


class Dapper:
    """DAPPER's share of the work, in a process of an interpreter that has it."""

    def __init__(self, python: str) -> None:
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(
            [python, str(WORKER)], text=True, env=os.environ | {"MPLBACKEND": "agg"}, **pipes
        )
        if "ready\n" not in iter(self.process.stdout.readline, ""):  # DAPPER says things of its own before
            raise SystemExit(f"{python} cannot import dapper. Pass the interpreter of an environment that has it.")

    def timer(self, work: str, times: int = 1) -> Timer:
        """Return a timer of a work that the worker knows."""

        def seconds() -> float:
            print(work, times, file=self.process.stdin, flush=True)
            return float(self.process.stdout.readline())

        seconds()
        return seconds
