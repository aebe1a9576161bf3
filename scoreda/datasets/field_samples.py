"""Samples of a field that stays on disk: where they lie in a variable of a file, and reading some of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import xarray as xr

from scoreda.datasets.layout import open_dataset
from scoreda.errors import ScoredaError

__all__ = ["FieldSamples", "Layout", "window_starts"]


@dataclass(frozen=True)
class Layout:
    """Where the samples of a variable lie: each is a box of it, `(channels, *space)`.

    Attributes:
        positions: What is used of every dimension of the variable.
        among: Dimensions that tell samples apart, slowest first.
        space: Dimensions of space.
        channels: The dimension of channels, if there is one.
        frames: Positions of the last dimension of `among` that a sample has, as its channels where there are no others.
        stride: Positions between the starts of samples along it; default `frames`.

    Raises:
        ValueError: if so many frames are not there, or a number is below 1.
    """

    positions: Mapping[str, range]
    among: tuple[str, ...]
    space: tuple[str, ...] = ("space",)
    channels: str | None = None
    frames: int = 1
    stride: int | None = None

    def __post_init__(self) -> None:
        window_starts(len(self.positions[self.among[-1]]), self.frames, self.stride)

    @classmethod
    def of_archive(
        cls,
        path: Path | str,
        trajectories: slice = slice(None),
        frames: int = 1,
        stride: int | None = None,
        variable: str = "states",
    ) -> "Layout":
        """Return where states, or windows of time, of some trajectories lie in a file of `write_archive`."""
        with open_dataset(path, needs=(variable,)) as ds:
            positions = {str(dim): range(number) for dim, number in ds[variable].sizes.items()}
        rows, time, space = positions
        return cls(positions | {rows: positions[rows][trajectories]}, (rows, time), (space,), None, frames, stride)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of samples along every dimension of `among`."""
        *others, last = (len(self.positions[dim]) for dim in self.among)
        return *others, len(window_starts(last, self.frames, self.stride))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape `(n, channels, *space)` of all samples."""
        channels = len(self.positions[self.channels]) if self.channels else 1
        space = (len(self.positions[dim]) for dim in self.space)
        return math.prod(self.counts), self.frames * channels, *space

    @property
    def order(self) -> tuple[str, ...]:
        """Dimensions of a box as a sample has them."""
        return self.among[-1], *([self.channels] if self.channels else []), *self.space

    def box(self, sample: int) -> dict[str, int | slice]:
        """Return what of every dimension belongs to a sample."""
        *others, last = (int(k) for k in np.unravel_index(sample, self.counts))
        start = last * (self.stride or self.frames)
        whole = {dim: _as_slice(self.positions[dim]) for dim in self.order}
        single = {dim: self.positions[dim][k] for dim, k in zip(self.among, others, strict=False)}
        return whole | single | {self.order[0]: _as_slice(self.positions[self.order[0]][start : start + self.frames])}

    def place(self, sample: int) -> str:
        """Return where a sample begins, in words."""
        box = self.box(sample)
        starts = {dim: where.start if isinstance(where := box[dim], slice) else where for dim in self.among}
        return ", ".join(f"{dim} {start}" for dim, start in starts.items())


class FieldSamples:
    """Samples of a variable of a netCDF file, read when they are asked for; memory holds those alone.

    The file is open until `close`, or the end of a `with` block.

    Args:
        path: The file; what it packs or marks as missing is decoded as `read_field` does.
        layout: Where the samples lie.
        variable: Its name.
    """

    def __init__(self, path: Path | str, layout: Layout, variable: str = "states") -> None:
        self._file = open_dataset(path, needs=(variable,))
        self._field: xr.Variable = self._file[variable].variable
        self._name, self.layout = f"{path}: `{variable}`", layout

    def __len__(self) -> int:
        return self.layout.shape[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._file.close()

    def read(self, wanted: np.ndarray) -> np.ndarray:
        """Read some samples, in the order of the file, and return them in the order asked for.

        Args:
            wanted: Their numbers `(k,)`.

        Returns: Shape `(k, channels, *space)`, float32.

        Raises:
            ScoredaError: if one holds NaN or Inf; the message names file, variable and place.
        """
        x = np.empty((len(wanted), *self.layout.shape[1:]), dtype=np.float32)
        for k in np.argsort(wanted, kind="stable").tolist():
            box = self._field.isel(self.layout.box(int(wanted[k])))
            x[k] = box.transpose(*self.layout.order).values.reshape(x.shape[1:])
            if not np.isfinite(x[k]).all():
                raise ScoredaError(
                    f"{self._name} holds NaN or Inf in {self.layout.place(int(wanted[k]))}. Leave that "
                    f"{self.layout.among[0]} out, or give the states as an array and train with mask=True."
                )
        return x


def window_starts(times: int, frames: int, stride: int | None = None) -> range:
    """Return where the windows of `frames` states begin in a trajectory of `times`, `stride` (default `frames`) apart.

    Raises:
        ValueError: if a trajectory is shorter than one window, or a number is below 1.
    """
    stride = frames if stride is None else stride
    if min(frames, stride) < 1:
        raise ValueError(f"`frames` and `stride` must be at least 1, got {frames} and {stride}.")
    if times < frames:
        raise ValueError(
            f"a window of {frames} frames does not fit into trajectories of {times} states. "
            "Keep more states of each, or pass fewer frames."
        )
    return range(0, times - frames + 1, stride)


def _as_slice(positions: range) -> slice:
    return slice(positions.start, positions.stop, positions.step)
