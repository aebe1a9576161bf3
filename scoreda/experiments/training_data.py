"""What a training configuration learns from, as arrays: simulated or read, split, cut into windows, normalised."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.models import from_spec

if TYPE_CHECKING:
    import torch

    from scoreda.datasets import Normaliser
    from scoreda.diffusion.training import ArchiveSamples

__all__ = ["archive_bytes", "fits", "make_samples", "make_streamed_samples", "sample_shape", "states_of_file"]

Settings = Mapping[str, Any]


def states_of_file(settings: Settings) -> np.ndarray:
    """Return a variable of any netCDF file, float32 `(split, samples, channels, *space)`.

    With a window the channels are times still to be cut; without, and without a dimension of channels, there is one.

    Raises:
        ScoredaError: if the file does not hold what the settings name, or a NaN that they do not allow.
    """
    from scoreda.datasets.fields import AnnualCycle, read_field

    data = settings["data"]
    split, ends = data["split"], [*_channel_dims(settings), *_space(data)]
    gaps = settings["train"]["mask"]
    field = read_field(data["file"], data["variable"], data["select"], needs=(split, *ends), gaps=gaps)
    if "harmonics" in data:
        field = AnnualCycle.of(field, data["harmonics"], split).anomalies(field)
    field = field.transpose(split, ..., *ends)
    states = field.values.astype(np.float32)
    inner = states.shape[states.ndim - len(ends) :]
    return states.reshape(len(states), -1, *([1] if len(ends) == len(_space(data)) else []), *inner)


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


def make_streamed_samples(settings: Settings, path: Path) -> tuple["ArchiveSamples", "torch.Tensor", "Normaliser"]:
    """Return what `make_samples` does, of an archive that stays on disk but for the validation samples."""
    from scoreda.datasets import Normaliser, open_dataset, read_chunks
    from scoreda.datasets.archive import held_out
    from scoreda.diffusion.training import ArchiveSamples

    with open_dataset(path, needs=("states",)) as ds:
        number = ds.sizes["trajectory"]
    last = number - held_out(number, settings["valid_fraction"])
    normaliser = Normaliser.of_chunks(read_chunks(path, slice(0, last)))
    kept = [chunk[:, :: settings["valid_every"]] for chunk in read_chunks(path, slice(last, number))]
    valid = _tensor(_with_channels(settings, np.concatenate(kept)), normaliser)
    return ArchiveSamples(path, normaliser, slice(0, last)), valid, normaliser


def fits(settings: Settings, memory: float) -> bool:
    """Return whether the samples of a system, and the copies that are made of them, fit into `memory` bytes.

    Raises:
        ScoredaError: if they do not, and cannot stay on disk.
    """
    if "system" not in settings or 4 * archive_bytes(settings) <= memory:
        return True
    if "window" in settings:
        raise ScoredaError(
            f"the archive takes {4 * archive_bytes(settings) / 1e9:.3g} GB with its copies, and windows cannot be read "
            "from disk one by one. Give more --memory, or learn from fewer trajectories."
        )
    return False


def archive_bytes(settings: Settings) -> float:
    """Return the size of a system's archive in single precision."""
    system = settings["system"]
    return 4.0 * system["trajectories"] * system["states"] * from_spec(system["model"]).size


def sample_shape(settings: Settings) -> tuple[int | None, ...]:
    """Return channels and points along each axis of space of a sample, before any is made; None: no file to ask."""
    frames = settings["window"]["frames"] if "window" in settings else 1
    if "system" in settings:
        return frames, from_spec(settings["system"]["model"]).size
    sizes, data = _sizes(settings["data"]), settings["data"]
    channels = sizes.get(data["channels"]) if "channels" in data else frames
    return channels, *(sizes.get(dim) for dim in _space(data))


def _sizes(data: Settings) -> dict[str, int]:
    """Return the lengths of the dimensions that are left of a file's variable; nothing if there is no file."""
    from scoreda.datasets import open_dataset

    if not Path(data["file"]).is_file():
        return {}
    with open_dataset(data["file"], needs=(data["variable"],)) as ds:
        field = ds[data["variable"]]
        cut = field.isel({dim: slice(*bounds) for dim, bounds in data["select"].items()})
        return {str(dim): length for dim, length in cut.sizes.items()}


def _space(data: Settings) -> list[str]:
    return [data["space"]] if isinstance(data["space"], str) else list(data["space"])


def _channel_dims(settings: Settings) -> list[str]:
    """Return the dimension that comes before those of space, if there is one: of channels, or of a window's times."""
    data = settings["data"]
    time = settings["window"]["time"] if "window" in settings else data["split"]
    return [data["channels"]] if "channels" in data else [time] if time != data["split"] else []


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
    along_split = "data" in settings and not _channel_dims(settings)
    series = part[:, :, 0].swapaxes(0, 1) if along_split else part.reshape(-1, *part.shape[2:])
    return windows(series, settings["window"]["frames"], settings["window"]["stride"])


def _tensor(states: np.ndarray, normaliser: "Normaliser") -> "torch.Tensor":
    """Return states `(groups, samples, C, *space)` as normalised samples `(n, C, *space)`."""
    import torch

    return torch.from_numpy(normaliser.apply(states.reshape(-1, *states.shape[2:])).astype(np.float32))
