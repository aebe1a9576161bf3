"""The noise level as a vector of features."""

import math

import torch
from torch import Tensor, nn

__all__ = ["NoiseEmbedding"]


class NoiseEmbedding(nn.Module):
    """Sinusoidal features of a scalar, then a two-layer perceptron.

    Args:
        width: Size of the embedding.
        base: Longest period over shortest; Vaswani et al. (2017) use 10,000.
        scale: Highest frequency; inputs here are ln(sigma) / 4, of order 1.
    """

    frequencies: Tensor

    def __init__(self, width: int, base: float = 1000.0, scale: float = 30.0) -> None:
        super().__init__()
        frequencies = scale * torch.exp(-math.log(base) * torch.arange(width // 2) / max(width // 2 - 1, 1))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * (width // 2), width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, c: Tensor) -> Tensor:
        """Embed `c` `(B,)` as `(B, width)`."""
        angle = c[:, None] * self.frequencies
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1))
