"""A run while it is scored: in memory, or in a file that takes every cycle when it is done. Both have the same bits."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Run", "held", "streamed"]

Start = Callable[["xr.Dataset"], dict[str, Any]]  # of a twin: method, ensemble, rng and error


class Run(NamedTuple):
    """A run, to be read part by part, and what writes it with further attributes to a path, and may close it."""

    dataset: "xr.Dataset"
    write: Callable[[dict[str, Any], Path], None]


@contextmanager
def held(twin: Path, start: Start) -> Iterator[Run]:
    """Yield the run over a twin in memory."""
    from scoreda.assimilation import assimilate
    from scoreda.datasets import open_dataset, write_dataset

    with open_dataset(twin, needs=("obs",)) as file:
        ds = file.load()
    run = assimilate(ds, **start(ds))
    yield Run(run, lambda attrs, path: write_dataset(run.assign_attrs(attrs), path))


@contextmanager
def streamed(twin: Path, start: Start, folder: Path) -> Iterator[Run]:
    """Yield the run over a twin in a file, which lies hidden in `folder` until it is written, and is removed if not."""
    from scoreda.assimilation import assimilate_to
    from scoreda.datasets import open_dataset

    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".run-*"):  # of a process that was killed
        shutil.rmtree(stale)
    with TemporaryDirectory(dir=folder, prefix=".run-") as hidden:
        path = Path(hidden) / "run.nc"
        with open_dataset(twin, needs=("obs",)) as ds:
            assimilate_to(path, ds, **start(ds))
        with _opened(path) as run:
            yield Run(run, lambda attrs, to: _move(run, attrs, path, to))


def _opened(path: Path) -> "xr.Dataset":
    """Open the file of a run whose rows are read once, so that keeping them, 64 MB of each variable, helps nothing."""
    from netCDF4 import get_chunk_cache, set_chunk_cache

    from scoreda.datasets import open_dataset

    usual = get_chunk_cache()
    set_chunk_cache(size=0)
    try:
        return open_dataset(path)
    finally:
        set_chunk_cache(*usual)


def _move(run: "xr.Dataset", attrs: dict[str, Any], path: Path, to: Path) -> None:
    """Close a run, add attributes to its file, and move that to where it is complete."""
    from netCDF4 import Dataset

    run.close()
    with Dataset(path, "a") as file:
        file.setncatts(attrs)
    os.replace(path, to)
