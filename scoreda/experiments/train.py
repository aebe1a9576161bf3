"""Learning a prior: archive, split, normaliser, network, training, model folder.

Settings are plain data (`resolved(load_config(Training, path))`), so nothing here needs pydantic.
"""

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.allocator import leave_freed_memory
from scoreda.errors import ScoredaError
from scoreda.experiments.card import write_card
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.training_budget import UNLIMITED, training_plan
from scoreda.experiments.training_data import make_samples, states_of_file
from scoreda.experiments.training_denoiser import make_denoiser
from scoreda.experiments.training_stream import make_streamed_samples
from scoreda.models import from_spec

if TYPE_CHECKING:
    import torch

    from scoreda.datasets import Normaliser
    from scoreda.diffusion import Prior, Trainer
    from scoreda.diffusion.training.trainer import OnValidation

__all__ = ["archive_file", "train_prior"]

Settings = Mapping[str, Any]
SampleSets = tuple[Any, "torch.Tensor", "Normaliser"]


def train_prior(
    settings: Settings,
    out: Path | str,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    memory: float = math.inf,
) -> "Prior":
    """Train a prior and write its folder: weights, metrics, loss curve, model card.

    Started by `torchrun`, the processes share every batch, and the first one writes.

    Args:
        settings: A resolved `Training` configuration.
        out: Folder of the training run; what `load_prior` accepts afterwards.
        device: Any torch device.
        resume: Whether to continue from the last checkpoint in `out`, if there is one.
        overwrite: Whether another run in `out` is replaced.
        memory: Bytes of this process. Within them, samples stay on disk, and a batch goes through the network in parts.

    Raises:
        ScoredaError: if the folder is another run's or holds a training that is not to be resumed, or the data are bad,
            or one sample at a time is too much for `memory`.
    """
    if math.isfinite(memory):
        leave_freed_memory()
    from scoreda.diffusion import Prior, Trainer, TrainSettings, save_prior
    from scoreda.diffusion.training import Ranks, process_group

    with process_group(device) as own_device:
        plan = UNLIMITED if math.isinf(memory) else training_plan(settings, memory, Ranks.current().size)
        given = _samples_of_file(settings, plan.held) if "data" in settings else None
        folder = _claimed(settings, Path(out), resume, overwrite)
        train, valid, normaliser = given or _samples_of_system(settings, folder, plan.held)
        denoiser = make_denoiser(settings, tuple(train.shape[1:]))
        how = TrainSettings(**settings["train"])
        trainer = Trainer(denoiser, train, valid, how, folder.path, own_device, plan.at_once)
        if (folder.path / "last.pt").is_file():
            trainer.resume()
        averaged = trainer.run(_callback(settings, normaliser, tuple(train.shape)))
        last = trainer.metrics.rows()[-1]
        prior = Prior(averaged, normaliser, card=dict(settings) | {"result": last})
        if trainer.ranks.first:
            save_prior(folder.path, prior)
            write_card(folder.path / "card.md", settings, last, normaliser)
        trainer.ranks.wait()
    return prior


def archive_file(settings: Settings, folder: RunFolder, overwrite: bool = False) -> Path:
    """Simulate the archive of a training configuration into its folder, unless it is there, and return its path.

    Raises:
        ScoredaError: if the configuration has no `system`, or the folder is another run's.
    """
    from scoreda.datasets import write_archive

    if "system" not in settings:
        raise ScoredaError(
            "this configuration learns from `data`, so there is nothing to simulate. Give it a `system`."
        )
    folder.claim(dict(settings), overwrite)
    path = folder.path / "archive.nc"
    if not path.is_file():
        write_archive(path, **_archive_arguments(settings["system"]))
    return path


def _claimed(settings: Settings, out: Path, resume: bool, overwrite: bool) -> RunFolder:
    """Claim the folder, once for all processes, and leave the archive in it that the others will read."""
    from scoreda.diffusion.threads import kept_threads
    from scoreda.diffusion.training import Ranks

    folder, ranks = RunFolder(out), Ranks.current()

    def claim() -> None:
        _claim(settings, folder, resume, overwrite)
        if "system" in settings and ranks.size > 1 and find_spec("netCDF4") is not None:
            with kept_threads():
                archive_file(settings, folder)

    ranks.lead(claim)
    return folder


def _claim(settings: Settings, folder: RunFolder, resume: bool, overwrite: bool) -> None:
    folder.claim(dict(settings), overwrite)
    if not (folder.path / "last.pt").is_file():
        for name in ("metrics.jsonl", "metrics.csv", "previews.npz"):
            (folder.path / name).unlink(missing_ok=True)
    elif not resume:
        raise ScoredaError(
            f"{folder.path} holds a training run. Pass --resume to continue it, or --overwrite to start again."
        )


def _samples_of_file(settings: Settings, held: bool) -> SampleSets:
    """Return training and validation samples of a file and their normaliser, in memory or on disk."""
    return make_samples(settings, states_of_file(settings)) if held else make_streamed_samples(settings)


def _samples_of_system(settings: Settings, folder: RunFolder, held: bool) -> SampleSets:
    """Return training and validation samples of a simulation and their normaliser, in memory or on disk."""
    from scoreda.diffusion.threads import kept_threads

    if held:
        return make_samples(settings, _simulated(settings, folder))
    with kept_threads():
        path = archive_file(settings, folder)
    return make_streamed_samples(settings, path)


def _simulated(settings: Settings, folder: RunFolder) -> np.ndarray:
    """Return the archive of the system, float32 `(trajectory, time, space)`; a file of it is kept where possible."""
    from scoreda.datasets import archive_chunks, read_archive
    from scoreda.diffusion.threads import kept_threads

    with kept_threads():
        if find_spec("netCDF4") is None:
            return np.concatenate(list(archive_chunks(**_archive_arguments(settings["system"]))))
        return read_archive(archive_file(settings, folder))


def _archive_arguments(system: Settings) -> dict[str, Any]:
    return dict(system) | {"model": from_spec(system["model"])}


def _callback(settings: Settings, normaliser: "Normaliser", samples: tuple[int, ...]) -> "OnValidation":
    """Return what is done after every validation: the loss as a curve and a table, and a preview if asked for."""
    from scoreda.diffusion.training import Preview
    from scoreda.experiments.sample import points_along_axes

    calls: list[OnValidation] = [_draw_loss]
    if "preview" in settings:
        p = settings["preview"]
        space = points_along_axes(p["size"], len(samples) - 2) if "size" in p else samples[2:]
        shape = (p["number"], samples[1], *space)
        calls.append(Preview(shape, p["steps"], p["seed"], normaliser.invert))

    def callback(trainer: "Trainer", row: dict[str, float]) -> None:
        for call in calls:
            call(trainer, row)

    return callback


def _draw_loss(trainer: "Trainer", row: dict[str, float]) -> None:
    from scoreda.plotting import loss_curve

    trainer.metrics.write_csv()
    figure = loss_curve(trainer.metrics.rows()).figure
    figure.savefig(trainer.folder / "loss.png", dpi=120)  # type: ignore[union-attr]
