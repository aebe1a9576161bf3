"""Learning a prior: archive, split, normaliser, network, training, model folder.

Settings are plain data (`resolved(load_config(Training, path))`), so nothing here needs pydantic.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.experiments.card import write_card
from scoreda.experiments.folder import RunFolder
from scoreda.models import from_spec

if TYPE_CHECKING:
    import torch

    from scoreda.diffusion import KarrasDenoiser, Prior, Trainer

__all__ = ["archive_file", "make_denoiser", "train_prior"]

Settings = Mapping[str, Any]


def train_prior(
    settings: Settings, out: Path | str, device: str = "cpu", resume: bool = False, overwrite: bool = False
) -> "Prior":
    """Train a prior and write its folder: weights, metrics, loss curve, model card.

    Args:
        settings: A resolved `Training` configuration.
        out: Folder of the training run; what `load_prior` accepts afterwards.
        device: Any torch device.
        resume: Whether to continue from the last checkpoint in `out`, if there is one.
        overwrite: Whether another run in `out` is replaced.

    Raises:
        ScoredaError: if the folder is another run's or holds a training that is not to be resumed, or the data are bad.
    """
    from scoreda.datasets import Normaliser, split_by_trajectory
    from scoreda.diffusion import Prior, Trainer, TrainSettings, save_prior

    given = _states_of_file(settings["data"]) if "data" in settings else None
    folder = _claim(settings, Path(out), resume, overwrite)
    states = _simulated(settings, folder) if given is None else given
    train, valid = split_by_trajectory(states, settings["valid_fraction"])
    normaliser = Normaliser.of(train)
    trainer = Trainer(
        make_denoiser(settings),
        _samples(train, normaliser),
        _samples(valid[:, :: settings["valid_every"]], normaliser),
        TrainSettings(**settings["train"]),
        folder.path,
        device,
    )
    if (folder.path / "last.pt").is_file():
        trainer.resume()
    denoiser = trainer.run(_draw_loss)
    last = _metrics(folder.path)[-1]
    prior = Prior(denoiser, normaliser, card=dict(settings) | {"result": last})
    save_prior(folder.path, prior)
    write_card(folder.path / "card.md", settings, last, normaliser)
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


def make_denoiser(settings: Settings) -> "KarrasDenoiser":
    """Return a freshly initialised denoiser; the global random state of torch stays as it was."""
    import torch

    from scoreda.diffusion import KarrasDenoiser
    from scoreda.diffusion.networks import NETWORKS
    from scoreda.diffusion.schedules import schedule_from_spec

    network = dict(settings["network"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["train"]["seed"])
        return KarrasDenoiser(NETWORKS[network.pop("name")](**network), schedule_from_spec(settings["schedule"]))


def _claim(settings: Settings, out: Path, resume: bool, overwrite: bool) -> RunFolder:
    folder = RunFolder(out)
    folder.claim(dict(settings), overwrite)
    if (out / "last.pt").is_file():
        if not resume:
            raise ScoredaError(
                f"{out} holds a training run. Pass --resume to continue it, or --overwrite to start again."
            )
    else:
        (out / "metrics.jsonl").unlink(missing_ok=True)
    return folder


def _simulated(settings: Settings, folder: RunFolder) -> np.ndarray:
    """Return the archive of the system, float32 `(trajectory, time, space)`; a file of it is kept where possible."""
    from scoreda.datasets import archive_chunks, read_archive

    if find_spec("netCDF4") is None:
        return np.concatenate(list(archive_chunks(**_archive_arguments(settings["system"]))))
    return read_archive(archive_file(settings, folder))


def _archive_arguments(system: Settings) -> dict[str, Any]:
    return dict(system) | {"model": from_spec(system["model"])}


def _states_of_file(data: Settings) -> np.ndarray:
    """Return a variable of any netCDF file as `(split, samples, space)`."""
    from scoreda.datasets.fields import AnnualCycle, read_field

    split, space = data["split"], data["space"]
    field = read_field(data["file"], data["variable"], data["select"], needs=(split, space))
    if "harmonics" in data:
        field = AnnualCycle.of(field, data["harmonics"], split).anomalies(field)
    states = field.transpose(split, ..., space).values.astype(np.float32)
    return states.reshape(len(states), -1, states.shape[-1])


def _samples(states: np.ndarray, normaliser: Any) -> "torch.Tensor":
    """Return states as normalised samples `(n, 1, L)`."""
    import torch

    return torch.from_numpy(normaliser.apply(states.reshape(-1, 1, states.shape[-1])).astype(np.float32))


def _metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _draw_loss(trainer: "Trainer", row: dict[str, float]) -> None:
    from scoreda.plotting import loss_curve

    figure = loss_curve(_metrics(trainer.folder)).figure
    figure.savefig(trainer.folder / "loss.png", dpi=120)  # type: ignore[union-attr]
