"""Networks for fields on a line or ring.

Everything is local in space (convolutions, and norms over channels only), so one set of weights serves any domain
length.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["NETWORKS", "ConvNet1d", "NoiseEmbedding"]


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


class Conv1d(nn.Conv1d):
    """A convolution that keeps the length: periodic, or with edge values repeated."""

    def __init__(self, inputs: int, outputs: int, kernel: int, circular: bool) -> None:
        super().__init__(inputs, outputs, kernel)
        self.mode = "circular" if circular else "replicate"

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` `(B, C, L)`."""
        half = self.kernel_size[0] // 2
        return super().forward(F.pad(x, (half, half), mode=self.mode) if half else x)


class ResidualBlock(nn.Module):
    """Norm, modulation by the noise level, SiLU, convolution, twice; added to the input."""

    def __init__(self, width: int, kernel: int, embedding: int, circular: bool) -> None:
        super().__init__()
        self.modulation = nn.Linear(embedding, 2 * width)
        self.first = Conv1d(width, width, kernel, circular)
        self.second = Conv1d(width, width, kernel, circular)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map `x` `(B, width, L)` to the same shape."""
        scale, shift = self.modulation(embedding)[..., None].chunk(2, dim=1)
        h = self.first(F.silu(channel_norm(x) * (1 + scale) + shift))
        return x + self.second(F.silu(h))


def channel_norm(x: Tensor) -> Tensor:
    """Scale every position to unit mean square over its channels; local, so tiles of a field give the same answer."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)


class ConvNet1d(nn.Module):
    """A residual convolutional network of constant width.

    Args:
        channels: Channels of the field.
        width: Hidden channels.
        blocks: Residual blocks of two convolutions each; the receptive field is `(2 blocks + 2) (kernel - 1) + 1`
            points.
        kernel: Odd kernel size.
        circular: Periodic domain; otherwise edges are repeated.
        embedding: Size of the noise embedding.
    """

    name = "convnet1d"

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        blocks: int = 5,
        kernel: int = 5,
        circular: bool = True,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        self.settings = dict(
            channels=channels, width=width, blocks=blocks, kernel=kernel, circular=circular, embedding=embedding
        )
        if kernel % 2 == 0 or min(channels, width, blocks, kernel, embedding - 1) < 1:
            raise ValueError(f"`kernel` must be odd, `embedding` at least 2, all sizes positive; got {self.settings}.")
        self.embedding = NoiseEmbedding(embedding)
        self.enter = Conv1d(channels, width, kernel, circular)
        self.blocks = nn.ModuleList(ResidualBlock(width, kernel, embedding, circular) for _ in range(blocks))
        self.leave = Conv1d(width, channels, kernel, circular)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        """Map `x` `(B, channels, L)` and `c_noise` `(B,)` to `(B, channels, L)`."""
        embedding = self.embedding(c_noise)
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, embedding)
        return self.leave(F.silu(channel_norm(h)))

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the network."""
        return dict(name=self.name, **self.settings)


NETWORKS = {ConvNet1d.name: ConvNet1d}
