"""Optimisers, and how their learning rate goes up and down."""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from scoreda.diffusion.training.settings import TrainSettings

__all__ = ["LR_SHAPES", "OPTIMISERS", "lr_factor", "make_optimiser"]

FUSED = ("cpu", "cuda")  # devices on which an update of all weights is one kernel
OPTIMISERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}

# Learning rate over its peak after `done` of `span` updates, falling to `final`.
LR_SHAPES: dict[str, Callable[[int, int, float], float]] = {
    "cosine": lambda done, span, final: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done / span)),
    "constant": lambda done, span, final: 1.0,
    "linear": lambda done, span, final: 1 - (1 - final) * done / span,
    "exponential": lambda done, span, final: final ** (done / span),
}


def make_optimiser(
    parameters: Iterable[nn.Parameter], s: "TrainSettings", device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimiser of the settings for parameters on `device`."""
    return OPTIMISERS[s.optimiser](
        parameters, lr=s.lr, betas=(0.9, s.beta2), weight_decay=s.weight_decay, fused=device.type in FUSED
    )


def lr_factor(s: "TrainSettings", step: int) -> float:
    """Return the learning rate of update `step`, counted from 0, over its peak: a linear rise, then the fall."""
    warmup = min(s.warmup, s.steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return LR_SHAPES[s.lr_schedule](step - warmup, max(s.steps - warmup, 1), s.lr_final)
