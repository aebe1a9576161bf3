"""A residual convolutional network of constant width."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from scoreda.diffusion.networks.blocks import Conv1d, ResidualBlock, channel_norm
from scoreda.diffusion.networks.embedding import NoiseEmbedding

__all__ = ["ConvNet1d"]


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
