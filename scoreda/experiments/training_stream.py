"""What a training configuration learns from where that is larger than memory: samples that stay in their file."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.experiments.training_data import positions_of, source, space_of, time_of

if TYPE_CHECKING:
    import torch

    from scoreda.datasets import Layout, Normaliser
    from scoreda.diffusion.training import ArchiveSamples

__all__ = [
    "PART_BYTES",
    "check_streamable",
    "held_out_samples",
    "make_streamed_samples",
    "samples_bytes",
    "streamable",
]

Settings = Mapping[str, Any]

PART_BYTES = 30e6  # of a field that is read in parts, in the precisions it passes through


def make_streamed_samples(
    settings: Settings, archive: Path | None = None
) -> tuple["ArchiveSamples", "torch.Tensor", "Normaliser"]:
    """Return what `make_samples` does, of a file that stays on disk but for the validation samples.

    The normaliser is made in one pass over the file, so it is that of `make_samples` to rounding.

    Args:
        settings: A resolved `Training` configuration.
        archive: The file, where the settings have a `system`.

    Raises:
        ScoredaError: if the file does not hold what the settings name, holds NaN, or cannot be read in parts.
    """
    import torch

    from scoreda.datasets import FieldSamples, Normaliser, read_parts
    from scoreda.diffusion.training import ArchiveSamples

    check_streamable(settings)
    data, (train, valid) = source(settings, archive), _layouts(settings)
    rows = train.positions[data["split"]]
    learned_from = data["select"] | {data["split"]: [rows.start, rows.stop, rows.step]}
    normaliser = Normaliser.of_chunks(read_parts(data["file"], data["variable"], learned_from))
    with FieldSamples(data["file"], valid, data["variable"]) as held_back:
        kept = held_back.read(held_out_samples(settings))
    samples = ArchiveSamples(data["file"], normaliser, train, data["variable"])
    return samples, torch.from_numpy(normaliser.apply(kept)), normaliser


def samples_bytes(settings: Settings) -> float:
    """Return the size of all samples in single precision, or of what windows are cut from where that is more."""
    found = _layouts(settings)
    values = sum(math.prod(len(used) for used in part.positions.values()) for part in found)
    return 4.0 * max(values, sum(math.prod(part.shape) for part in found))


def held_out_samples(settings: Settings) -> np.ndarray:
    """Return the numbers of the validation samples that are kept, as `make_samples` thins them."""
    valid = _layouts(settings)[1]
    groups = (-1, valid.counts[-1]) if "window" in settings else (valid.counts[0], -1)
    return np.arange(valid.shape[0]).reshape(groups)[:, :: settings["valid_every"]].ravel()


def check_streamable(settings: Settings) -> None:
    """Refuse settings whose samples depend on all of the file; ScoredaError names what and the fix."""
    for name, value, fix in _of_all(settings):
        raise ScoredaError(
            f"`{name}` = {value} takes all samples in memory, but they are too many for --memory. {fix}, or give more "
            "--memory."
        )


def streamable(settings: Settings) -> bool:
    """Return whether samples may stay on disk."""
    return not list(_of_all(settings))


def _of_all(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Yield the settings that need all of the file, their values, and what would do instead."""
    if "harmonics" in settings.get("data", {}):
        yield "data.harmonics", settings["data"]["harmonics"], "Write a file of anomalies and leave `harmonics` out"
    if settings["train"]["mask"]:
        yield "train.mask", "true", "Write a file without gaps and leave `mask` out"


def _layouts(settings: Settings) -> tuple["Layout", "Layout"]:
    """Return where the samples for training and for validation lie in the file."""
    from scoreda.datasets.archive import held_out

    positions, split = positions_of(settings), source(settings)["split"]
    rows = positions[split]
    last = len(rows) - held_out(len(rows), settings["valid_fraction"])
    train, valid = (_layout(settings, positions | {split: part}) for part in (rows[:last], rows[last:]))
    return train, valid


def _layout(settings: Settings, positions: dict[str, range]) -> "Layout":
    """Return where the samples of some positions lie, in the order of `make_samples`."""
    from scoreda.datasets import Layout

    data, time, window = source(settings), time_of(settings), settings.get("window", {})
    channels, space = data.get("channels"), space_of(data)
    others = [dim for dim in positions if dim not in (data["split"], time, channels, *space)]
    among = [data["split"]] * (time != data["split"]) + others + ([time] if time else [])
    return Layout(positions, tuple(among), tuple(space), channels, window.get("frames", 1), window.get("stride"))
