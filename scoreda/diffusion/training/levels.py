"""Noise levels to train on."""

import math

import torch
from torch import Tensor

__all__ = ["log_normal_sigma"]


def log_normal_sigma(shape: tuple[int, ...], mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Draw training noise levels, ln sigma ~ N(mean, std^2) (Karras et al. 2022, section 5)."""
    draw = torch.randn(shape, generator=generator, device=generator.device)
    return torch.exp(mean + std * draw).clamp(math.exp(-9.0), math.exp(9.0))
