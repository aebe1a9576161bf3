"""Reading checkpoints: what is damaged, or of another training, is refused before anything is changed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from scoreda.diffusion.training.settings import TrainSettings
from scoreda.errors import ScoredaError

__all__ = ["matching_checkpoint"]


def matching_checkpoint(
    path: Path, settings: TrainSettings, schedule: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """Return the content of a checkpoint of these settings and this schedule.

    Raises:
        ScoredaError: if it is missing, unreadable, or of other settings or another schedule.
    """
    state = _read(path, device)
    # A checkpoint from before a setting existed was made with what is now its default.
    found, wanted = asdict(TrainSettings()) | state["settings"], asdict(settings)
    changed = [name for name in wanted if found.get(name) != wanted[name]]
    if changed:
        raise ScoredaError(f"{path}: made with other settings ({', '.join(changed)}). Use another --out.")
    if state.get("schedule", schedule) != schedule:
        raise ScoredaError(
            f"{path}: its weights were trained under the schedule {state['schedule']}, not {schedule}. "
            "Give the denoiser that schedule, or use another --out."
        )
    return state


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    if not path.is_file():
        raise ScoredaError(f"{path}: no checkpoint to resume from. Start without --resume.")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        return dict(state) | {"settings": dict(state["settings"])}
    except Exception as error:  # what torch raises for a damaged file is not documented
        raise ScoredaError(f"{path}: not a readable checkpoint ({error}). Remove it to start again.") from error
