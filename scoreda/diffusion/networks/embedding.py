"""The noise level as a vector of features."""

import math
from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from scoreda.diffusion.networks.base import ACTIVATIONS
from scoreda.errors import choose, require_known

__all__ = ["NoiseEmbedding"]


class NoiseEmbedding(nn.Module):
    """Sines and cosines of a scalar, then a two-layer perceptron.

    The defaults are for a continuous input of order 1, such as ln(sigma) / 4. For the number of a step, integer or not,
    pass `scale=1.0`.

    Args:
        width: Size of the embedding.
        base: Longest period over shortest (sinusoidal); Vaswani et al. (2017) use 10,000.
        scale: Highest angular frequency (sinusoidal), or standard deviation of all (fourier).
        kind: "sinusoidal": frequencies in geometric progression. "fourier": drawn once from a Gaussian and kept with
            the weights (Tancik et al., 2020, https://arxiv.org/abs/2006.10739).
        features: Number of sines and cosines; default `width`.
        activation: Between the two layers: "silu", "gelu", "mish" or "tanh".
    """

    frequencies: Tensor

    def __init__(
        self,
        width: int,
        base: float = 1000.0,
        scale: float = 30.0,
        kind: str = "sinusoidal",
        features: int | None = None,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        number = (width if features is None else features) // 2
        if min(width // 2, number) < 1:
            raise ValueError(
                f"a noise `embedding` must be at least 2 wide, got {width} of {features or width} features."
            )
        frequencies = scale * choose("embedding", kind, FREQUENCIES)(number, base)
        self.register_buffer("frequencies", frequencies, persistent=kind == "fourier")
        between = choose("activation", activation, ACTIVATIONS)()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(2 * number, width), between, nn.Linear(width, width), nn.SiLU())

    @classmethod
    def of(cls, settings: int | Mapping[str, Any]) -> "NoiseEmbedding":
        """Build an embedding from its width, or from all its settings by name.

        Raises:
            ScoredaError: if it has no such setting.
        """
        if not isinstance(settings, Mapping):
            return cls(settings)
        require_known("setting of a noise embedding:", settings, signature(cls).parameters)
        return cls(**settings)

    def forward(self, c: Tensor) -> Tensor:
        """Embed `c` `(B,)`, real or integer, as `(B, width)`."""
        angle = c[:, None] * self.frequencies
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.frequencies.dtype))


def geometric(number: int, base: float) -> Tensor:
    """Return frequencies from 1 down to 1 / base."""
    return torch.exp(-math.log(base) * torch.arange(number) / max(number - 1, 1))


def gaussian(number: int, base: float) -> Tensor:
    """Return random frequencies of standard deviation 1."""
    return torch.randn(number)


FREQUENCIES = {"sinusoidal": geometric, "fourier": gaussian}
