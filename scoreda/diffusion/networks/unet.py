"""A U-Net: residual blocks at several resolutions, each handing its result past the coarser ones."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scoreda.diffusion.networks.attention import Attention
from scoreda.diffusion.networks.base import Network
from scoreda.diffusion.networks.blocks import BLOCKS, Conv, axes, zeroed
from scoreda.diffusion.networks.embedding import NoiseEmbedding
from scoreda.diffusion.networks.levels import Level, Parts
from scoreda.diffusion.networks.locality import Locality, not_local
from scoreda.errors import choose

__all__ = ["UNet1d", "UNet2d"]


class UNet(Network):
    """A U-Net; what its dimensions share.

    Each level has half the points of the one above, rounded up, so every domain size will do that leaves the lowest
    level half a kernel. On a ring whose size is a multiple of `2 ** (len(widths) - 1)`, shifts by that many points
    commute with the network.

    Args:
        channels: Channels of the field: variables, or the times of a window.
        widths: Hidden channels of each level, finest first.
        blocks: Residual blocks per level on the way down, at the bottom, and on the way up.
        kernel: Odd kernel size of the blocks.
        resampling: Odd kernel size of the first convolution and of those between levels.
        circular: Periodic domain, one bool or one per axis; along the other axes edges are repeated.
        embedding: Size of the noise embedding, or its settings (see `NoiseEmbedding`).
        block: "residual" (norm first) or "film" (convolution first).
        norm: "channel" (local) or "group" (over the whole domain).
        attention: "none", "full" or "linear".
        attention_levels: How many levels have it, counted from the coarsest.
        heads: Heads of the attention.
        conditioning: Channels of a condition.

    Source: Ronneberger et al. (2015), https://arxiv.org/abs/1505.04597; Ho et al. (2020), appendix B
    """

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 2,
        kernel: int = 3,
        resampling: int = 5,
        circular: bool | Sequence[bool] = True,
        embedding: int | Mapping[str, Any] = 64,
        block: str = "residual",
        norm: str = "channel",
        attention: str = "none",
        attention_levels: int = 1,
        heads: int = 4,
        conditioning: int = 0,
    ) -> None:
        super().__init__(
            channels, conditioning, widths=tuple(widths), blocks=blocks, kernel=kernel, resampling=resampling,
            circular=circular, embedding=embedding, block=block, norm=norm, attention=attention,
            attention_levels=attention_levels, heads=heads,
        )  # fmt: skip
        each = axes(circular, self.dimensions)
        self.embedding = NoiseEmbedding.of(embedding)
        kind = partial(choose("block", block, BLOCKS), kernel=kernel, circular=each, norm=norm)
        parts = Parts(
            block=partial(kind, embedding=self.embedding.width),
            blocks=blocks,
            resample=partial(Conv, kernel=resampling, circular=each),
            attend=nn.Identity if attention == "none" else partial(Attention, heads=heads, kind=attention, norm=norm),
            attention_levels=attention_levels,
        )
        self.enter = Conv(self.inputs, widths[0], resampling, each)
        self.levels = Level(parts, widths[0], widths)
        self.last = kind(2 * widths[0], widths[0], embedding=0)
        self.leave = zeroed(Conv(widths[0], channels, 1, each))

    def locality(self, channels: int | None = None) -> Locality:
        """Return how far the network looks, over all its levels.

        Raises:
            ValueError: if its norm or its attention reads all of the field.
        """
        s, half = self.settings, 2**self.dimensions
        if s["norm"] != "channel" or s["attention"] != "none":
            raise not_local(self.name, f"norm '{s['norm']}' or attention '{s['attention']}' reads all of the field")
        pair, resample = 2 * (s["kernel"] // 2), s["resampling"] // 2  # of the two convolutions of a block
        reach = 3 * s["blocks"] * pair  # of the coarsest level
        for _ in s["widths"][1:]:  # doubling the points repeats those to the left, which is one more
            reach = 2 * s["blocks"] * pair + 2 * reach + 2 * resample + 1
        width = sum(2 * width // half**level for level, width in enumerate(s["widths"]))
        return Locality(reach + resample + pair, self.enter.circular, width, 2 ** (len(s["widths"]) - 1))

    def body(self, h: Tensor, c_noise: Tensor) -> Tensor:
        """Map `h` `(B, inputs, *)` to `(B, channels, *)`."""
        embedding, h = self.embedding(c_noise), self.enter(h)
        return self.leave(self.last(torch.cat([self.levels(h, embedding), h], dim=1), embedding))


class UNet1d(UNet):
    """`UNet` for `(B, C, L)`."""

    name = "unet1d"
    dimensions = 1


class UNet2d(UNet):
    """`UNet` for `(B, C, H, W)`; `circular=(False, True)` for latitude and longitude."""

    name = "unet2d"
    dimensions = 2
