"""Windows of Lorenz96 in an older layout: one file `lorenz96_trajectory (batch, time, space)`, made, written and read.

Source: Yasuda (2026), https://github.com/YukiYasuda2718/tutorial-diffusion-frameworks, `make_lorenz96_data.ipynb`
"""

from pathlib import Path

import numpy as np
import xarray as xr

from scoreda.datasets.layout import check_finite, open_dataset, write_dataset
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96

__all__ = ["SEED_WINDOWS", "make_seed_windows", "read_seed_windows", "write_seed_windows"]

SEED_WINDOWS = "lorenz96_trajectory"
SEED_ATTRIBUTES = ("forcing", "dt", "seed", "amp_perturb", "output_time_interval")


def make_seed_windows(
    seed: int,
    trajectories: int = 5000,
    size: int = 32,
    frames: int = 32,
    steps: int = 5000,
    interval: int = 40,
    forcing: float = 8.0,
    dt: float = 0.005,
    amplitude: float = 0.01,
) -> xr.Dataset:
    """Simulate windows as the source does, by forward Euler; the defaults are its own.

    Its bits are not to be had: it draws and integrates in single precision, and the system is chaotic.

    Args:
        seed: Of the initial states, `forcing + amplitude * N(0, 1)`.
        trajectories: Windows in all, one of each trajectory.
        size: Variables.
        frames: States in a window.
        steps: Of the whole trajectory, at the end of which the window lies.
        interval: Steps between the states of a window.
        forcing: F.
        dt: Step; with .005 Euler's climate has 7 % more variance than the equation's.
        amplitude: Of the initial perturbations.

    Raises:
        ValueError: if the window is longer than the trajectory.
    """
    first = steps - (frames - 1) * interval
    if first < 0:
        raise ValueError(
            f"{frames} states, {interval} steps apart, need {steps - first} `steps`, got {steps}. Take that many."
        )
    model = Lorenz96(size, forcing, dt, "euler")
    E = forcing + amplitude * np.random.default_rng(seed).normal(size=(trajectories, size))
    values = np.empty((trajectories, frames, size), dtype=np.float32)
    for k in range(frames):
        E = model.step(E, interval if k else first)
        values[:, k] = E
    attrs = dict(forcing=forcing, dt=dt, seed=seed, amp_perturb=amplitude, output_time_interval=interval)
    return xr.DataArray(
        values,
        dims=("batch", "time", "space"),
        coords={
            "batch": np.arange(trajectories, dtype=np.int32),
            "time": (np.arange(frames) * interval * dt).astype(np.float32),
            "space": np.linspace(0, 2 * np.pi, size, endpoint=False).astype(np.float32),
        },
        attrs=attrs,
    ).to_dataset(name=SEED_WINDOWS)


def write_seed_windows(ds: xr.Dataset, path: Path | str) -> None:
    """Write windows, as of `make_seed_windows`, to netCDF.

    Raises:
        ScoredaError: if they are not in the layout, or hold NaN or Inf.
    """
    if SEED_WINDOWS not in ds:
        raise ScoredaError(f"the windows must be the variable '{SEED_WINDOWS}', got {', '.join(map(str, ds))}. Rename.")
    _check_layout(ds, "the dataset")
    check_finite(ds[SEED_WINDOWS].values, "the windows")
    write_dataset(ds, path)


def read_seed_windows(path: Path | str) -> xr.Dataset:
    """Open a file of windows as it is.

    Raises:
        ScoredaError: if the variable, one of its dims, or one of the attributes that tell how it was made is missing.
    """
    ds = open_dataset(path, needs=(SEED_WINDOWS,))
    try:
        _check_layout(ds, f"'{path}'")
    except ScoredaError:
        ds.close()
        raise
    return ds


def _check_layout(ds: xr.Dataset, what: str) -> None:
    windows = ds[SEED_WINDOWS]
    missing = [name for name in SEED_ATTRIBUTES if name not in windows.attrs | ds.attrs]
    if windows.dims != ("batch", "time", "space") or missing:
        raise ScoredaError(
            f"{what} is no file of windows: {SEED_WINDOWS} must have dims (batch, time, space), got {windows.dims}, "
            f"and the attributes {', '.join(SEED_ATTRIBUTES)}; missing: {', '.join(missing) or 'none'}."
        )
