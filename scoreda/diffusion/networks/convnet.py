"""A residual convolutional network of constant width: the simplest one for fields of any size."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from scoreda.diffusion.networks.base import Network
from scoreda.diffusion.networks.blocks import Conv, ResidualBlock, axes, channel_norm, zeroed
from scoreda.diffusion.networks.embedding import NoiseEmbedding
from scoreda.diffusion.networks.locality import Locality

__all__ = ["ConvNet1d", "ConvNet2d"]


class ConvNet(Network):
    """A residual convolutional network of constant width; what its dimensions share.

    Everything is local: an output depends on the `(2 blocks + 2) (kernel - 1) + 1` points around it along each axis.

    Args:
        channels: Channels of the field: variables, or the times of a window.
        width: Hidden channels.
        blocks: Residual blocks of two convolutions each.
        kernel: Odd kernel size.
        circular: Periodic domain, one bool or one per axis; along the other axes edges are repeated.
        embedding: Size of the noise embedding, or its settings (see `NoiseEmbedding`).
        conditioning: Channels of a condition.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        blocks: int = 5,
        kernel: int = 5,
        circular: bool | Sequence[bool] = True,
        embedding: int | Mapping[str, Any] = 64,
        conditioning: int = 0,
    ) -> None:
        super().__init__(
            channels, conditioning, width=width, blocks=blocks, kernel=kernel, circular=circular, embedding=embedding
        )
        each = axes(circular, self.dimensions)
        self.embedding = NoiseEmbedding.of(embedding)
        self.enter = Conv(self.inputs, width, kernel, each)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, width, kernel, each, self.embedding.width) for _ in range(blocks)
        )
        self.leave = zeroed(Conv(width, channels, kernel, each))

    def locality(self, channels: int | None = None) -> Locality:
        """Return how far the network looks: half a kernel for each convolution."""
        reach = 2 * (len(self.blocks) + 1) * self.enter.reach
        return Locality(reach, self.enter.circular, self.settings["width"])

    def body(self, h: Tensor, c_noise: Tensor) -> Tensor:
        """Map `h` `(B, inputs, *)` to `(B, channels, *)`."""
        embedding = self.embedding(c_noise)
        h = self.enter(h)
        for block in self.blocks:
            h = block(h, embedding)
        return self.leave(F.silu(channel_norm(h)))


class ConvNet1d(ConvNet):
    """`ConvNet` for `(B, C, L)`."""

    name = "convnet1d"
    dimensions = 1


class ConvNet2d(ConvNet):
    """`ConvNet` for `(B, C, H, W)`; `circular=(False, True)` for latitude and longitude."""

    name = "convnet2d"
    dimensions = 2
