"""What a training configuration learns from, as arrays: simulated or read, split, cut into windows, normalised."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.models import from_spec

if TYPE_CHECKING:
    import torch

    from scoreda.datasets import Normaliser

__all__ = ["make_samples", "positions_of", "sample_shape", "source", "states_of_file"]

Settings = Mapping[str, Any]


def states_of_file(settings: Settings) -> np.ndarray:
    """Return a variable of any netCDF file, float32 `(split, samples, channels, *space)`.

    With a window the channels are times still to be cut; without, and without a dimension of channels, there is one.

    Raises:
        ScoredaError: if the file does not hold what the settings name, or a NaN that they do not allow.
    """
    from scoreda.datasets.fields import AnnualCycle, read_field

    data = settings["data"]
    split, ends = data["split"], [*before_space(settings, data), *space_of(data)]
    gaps = settings["train"]["mask"]
    field = read_field(data["file"], data["variable"], data["select"], needs=(split, *ends), gaps=gaps)
    if "harmonics" in data:
        field = AnnualCycle.of(field, data["harmonics"], split).anomalies(field)
    field = field.transpose(split, ..., *ends)
    states = field.values.astype(np.float32)
    inner = states.shape[states.ndim - len(ends) :]
    return states.reshape(len(states), -1, *([1] if len(ends) == len(space_of(data)) else []), *inner)


def make_samples(settings: Settings, states: np.ndarray) -> tuple["torch.Tensor", "torch.Tensor", "Normaliser"]:
    """Return training and validation samples, normalised `(n, C, *space)`, and the normaliser of the training states.

    Args:
        settings: A resolved `Training` configuration.
        states: Of a simulated system `(trajectory, time, space)`, or what `states_of_file` returned.
    """
    from scoreda.datasets import Normaliser, split_by_trajectory

    train, valid = split_by_trajectory(_with_channels(settings, states), settings["valid_fraction"])
    normaliser = Normaliser.of(train[np.isfinite(train)] if settings["train"]["mask"] else train)
    train, valid = (_windowed(settings, part) for part in (train, valid))
    return _tensor(train, normaliser), _tensor(valid[:, :: settings["valid_every"]], normaliser), normaliser


def sample_shape(settings: Settings) -> tuple[int | None, ...]:
    """Return channels and points along each axis of space of a sample, before any is made; None: no file to ask."""
    frames = settings["window"]["frames"] if "window" in settings else 1
    if "system" in settings:
        return frames, from_spec(settings["system"]["model"]).size
    data, there = settings["data"], Path(settings["data"]["file"]).is_file()
    sizes = {dim: len(used) for dim, used in (positions_of(settings) if there else {}).items()}
    channels = sizes.get(data["channels"]) if "channels" in data else frames
    return channels, *(sizes.get(dim) for dim in space_of(data))


def known_shape(settings: Settings) -> tuple[int, ...] | None:
    """Return the shape of a sample; None if there is no file to ask."""
    shape = [length for length in sample_shape(settings) if length is not None]
    return tuple(shape) if len(shape) == len(sample_shape(settings)) else None


def source(settings: Settings, archive: Path | None = None) -> dict[str, Any]:
    """Return the section `data`, or what it would be for the archive of a system."""
    if "data" in settings:
        return dict(settings["data"])
    return dict(file=archive, variable="states", split="trajectory", space="space", select={})


def space_of(data: Settings) -> list[str]:
    """Return the dimensions of space."""
    return [data["space"]] if isinstance(data["space"], str) else list(data["space"])


def before_space(settings: Settings, data: Settings) -> list[str]:
    """Return the dimension that comes before those of space, if there is one: of channels, or of a window's times."""
    if "channels" in data:
        return [data["channels"]]
    time = time_of(settings)
    return [] if time in (None, data["split"]) else [str(time)]


def time_of(settings: Settings) -> str | None:
    """Return the dimension along which windows are cut, if they are."""
    if "window" not in settings:
        return None
    return str(settings["window"]["time"]) if "data" in settings else "time"


def positions_of(settings: Settings) -> dict[str, range]:
    """Return which positions of every dimension are learned from; those of a system need no file.

    Raises:
        ScoredaError: as from `states_of_file`, for dimensions that are not there.
    """
    from scoreda.datasets.fields import used_positions

    if "system" in settings:
        system = settings["system"]
        sizes = (system["trajectories"], system["states"], from_spec(system["model"]).size)
        return {dim: range(n) for dim, n in zip(("trajectory", "time", "space"), sizes, strict=True)}
    data = settings["data"]
    needs = (data["split"], *before_space(settings, data), *space_of(data))
    return used_positions(data["file"], data["variable"], data["select"], needs)


def _with_channels(settings: Settings, states: np.ndarray) -> np.ndarray:
    """Return the states of a system in the layout of a file's: times are samples, or the channels of one sample."""
    if "data" in settings:
        return states
    return states[:, None] if "window" in settings else states[:, :, None]


def _windowed(settings: Settings, part: np.ndarray) -> np.ndarray:
    """Return `(split, samples, times, *space)` as `(series, windows, frames, *space)`, where windows are asked for."""
    from scoreda.diffusion.training import windows

    if "window" not in settings:
        return part
    along_split = "data" in settings and not before_space(settings, settings["data"])
    series = part[:, :, 0].swapaxes(0, 1) if along_split else part.reshape(-1, *part.shape[2:])
    return windows(series, settings["window"]["frames"], settings["window"]["stride"])


def _tensor(states: np.ndarray, normaliser: "Normaliser") -> "torch.Tensor":
    """Return states `(groups, samples, C, *space)` as normalised samples `(n, C, *space)`."""
    import torch

    return torch.from_numpy(normaliser.apply(states.reshape(-1, *states.shape[2:])).astype(np.float32))
