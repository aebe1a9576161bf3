"""Reading checkpoints: what is damaged, or of another training, is refused before anything is changed."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from scoreda.diffusion.denoisers import LearnedDenoiser
from scoreda.diffusion.training.settings import TrainSettings
from scoreda.errors import ScoredaError

__all__ = ["matching_checkpoint", "specs"]


def specs(denoiser: LearnedDenoiser) -> dict[str, Any]:
    """Return what denoiser and network are built from, as plain data; None of one that does not tell.

    Much of it leaves no trace in the weights: a periodic domain, an activation, the scale of the noise embedding.
    """
    return {"denoiser": _spec(denoiser), "network": _spec(denoiser.network)}


def _spec(part: Any) -> Any:
    spec = part.spec() if hasattr(part, "spec") else None
    return json.loads(json.dumps(spec, default=lambda value: type(value).__name__))


def matching_checkpoint(
    path: Path, settings: TrainSettings, schedule: dict[str, Any], built: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """Return the content of a checkpoint of these settings, this schedule and these `specs`.

    Raises:
        ScoredaError: if it is missing, unreadable, or of other settings, another schedule, denoiser or network.
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
    for part, spec in built.items():
        _check_spec(f"{path}: its {part}", state.get("built", built)[part] or {}, spec or {})
    return state


def _check_spec(whose: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    if names:
        differing = ", ".join(f"{name} = {found.get(name)}, not {wanted.get(name)}" for name in names)
        raise ScoredaError(f"{whose} was made with {differing}. Build it as it was trained, or use another --out.")


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    if not path.is_file():
        raise ScoredaError(f"{path}: no checkpoint to resume from. Start without --resume.")
    try:
        with warnings.catch_warnings(action="ignore"):  # of a pickle of another protocol
            state = torch.load(path, map_location=device, weights_only=True)
        return dict(state) | {"settings": dict(state["settings"])}
    except Exception as error:  # what torch raises for a damaged file is not documented, and what it advises is unsafe
        raise ScoredaError(f"{path}: damaged, or not written by a training. Remove it to start again.") from error
