"""Training archives: many independent trajectories of a model, made and written chunk by chunk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from scoreda.models import Model

__all__ = ["archive_chunks", "read_archive", "split_by_trajectory", "write_archive"]

CHUNK = 250  # trajectories simulated and written at a time: the only memory that an archive takes


def archive_chunks(
    model: Model, trajectories: int, states: int, interval: int, seed: int, spinup: float = 20.0
) -> Iterator[np.ndarray]:
    """Yield float32 arrays `(<= 250, states, Nx)` of independent trajectories on the model's attractor.

    Args:
        model: Needs `random_states`.
        trajectories: Independent trajectories in all.
        states: States kept of each.
        interval: Model steps between kept states.
        seed: Chunk `k` draws from the `k`-th child of this seed.
        spinup: Model time units discarded at the start.
    """
    if min(trajectories, states, interval) < 1:
        raise ValueError(
            f"trajectories, states and interval must be positive, got {trajectories}, {states}, {interval}."
        )
    sizes = [min(CHUNK, trajectories - start) for start in range(0, trajectories, CHUNK)]
    for size, child in zip(sizes, np.random.SeedSequence(seed).spawn(len(sizes)), strict=True):
        E = model.step(model.random_states(size, np.random.default_rng(child)), round(spinup / model.dt))
        chunk = np.empty((size, states, model.size), dtype=np.float32)
        for k in range(states):
            chunk[:, k] = E
            E = model.step(E, interval)
        yield chunk


def write_archive(
    path: Path | str, model: Model, trajectories: int, states: int, interval: int, seed: int, spinup: float = 20.0
) -> None:
    """Stream an archive to netCDF, variable `states (trajectory, time, space)`; memory stays at one chunk.

    The file appears under its name only when it is complete.

    Raises:
        ScoredaError: if the model blows up (NaN or Inf), naming the trajectory.
    """
    from netCDF4 import Dataset

    from scoreda.datasets.layout import check_finite, provenance, replacing

    with replacing(path) as partial, Dataset(partial, "w") as f:
        for name, length in {"trajectory": trajectories, "time": states, "space": model.size}.items():
            f.createDimension(name, length)
        out = f.createVariable("states", "f4", ("trajectory", "time", "space"), chunksizes=(1, states, model.size))
        out.setncatts({"long_name": "model state", "units": "1"})
        time = f.createVariable("time", "f8", ("time",))
        time.setncatts({"units": "1", "long_name": "model time (MTU)", "axis": "T"})
        time[:] = np.arange(states) * interval * model.dt
        f.setncatts(provenance(title=f"{model.name} training archive", seed=seed, model=model.spec()))
        start = 0
        chunks = archive_chunks(model, trajectories, states, interval, seed, spinup)
        with tqdm(total=trajectories, desc="archive", unit="trajectory", disable=None) as bar:
            for chunk in chunks:
                check_finite(chunk, f"the model {model.name}", first=start)
                out[start : start + len(chunk)] = chunk
                start += len(chunk)
                bar.update(len(chunk))


def read_archive(path: Path | str, variable: str = "states") -> np.ndarray:
    """Return the archive's states, float32 `(trajectory, time, space)`.

    Raises:
        ScoredaError: if the file lacks the variable or it holds NaN.
    """
    from scoreda.datasets.layout import check_finite, open_dataset

    with open_dataset(path, needs=(variable,)) as ds:
        states = ds[variable].values.astype(np.float32)
    check_finite(states, str(path))
    return states


def read_chunks(path: Path | str, trajectories: slice = slice(None), variable: str = "states") -> Iterator[np.ndarray]:
    """Yield the archive's states `(<= 250, time, space)`, chunk by chunk; arguments and errors as of `read_archive`.

    Raises:
        ValueError: if the slice of trajectories has a step.
    """
    from scoreda.datasets.layout import check_finite, open_dataset

    if trajectories.step not in (None, 1):
        raise ValueError(f"`trajectories` must be in a row, got {trajectories}. Pass a slice without a step.")
    with open_dataset(path, needs=(variable,)) as ds:
        rows = range(ds[variable].shape[0])[trajectories]
        for start in range(rows.start, rows.stop, CHUNK):
            chunk = ds[variable][start : min(start + CHUNK, rows.stop)].values.astype(np.float32)
            check_finite(chunk, str(path), first=start)
            yield chunk


def held_out(number: int, valid_fraction: float = 0.05) -> int:
    """Return how many of a number of trajectories, the last ones, are kept for validation; ValueError below 2."""
    if number < 2:
        raise ValueError(f"need at least 2 trajectories to split, got {number}.")
    return max(1, round(valid_fraction * number))


def split_by_trajectory(states: np.ndarray, valid_fraction: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Split `(trajectory, ...)` into training and validation trajectories; no state's neighbours are in both."""
    last = held_out(len(states), valid_fraction)
    return states[:-last], states[-last:]
