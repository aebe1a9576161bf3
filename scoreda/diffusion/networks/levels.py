"""The resolutions of a U-Net, one inside the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Level", "Parts"]


@dataclass(frozen=True)
class Parts:
    """What all levels are built of.

    Attributes:
        block: `block(inputs, outputs)`, called as `block(x, embedding)`.
        blocks: How many follow each other.
        resample: `resample(inputs, outputs, stride=1)`, the convolution between levels.
        attend: `attend(width)`, called after the blocks of the `attention_levels` coarsest levels.
        attention_levels: How many levels that is.
    """

    block: Callable[[int, int], nn.Module]
    blocks: int
    resample: Callable[..., nn.Module]
    attend: Callable[[int], nn.Module]
    attention_levels: int


class Level(nn.Module):
    """One resolution and, inside it, all coarser ones: what they find is joined to what this one knows.

    Args:
        parts: What it is built of.
        inputs: Channels that enter, and leave.
        widths: Channels of this level and the coarser ones.
    """

    def __init__(self, parts: Parts, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        width, coarser = widths[0], widths[1:]
        attend = parts.attend if len(widths) <= parts.attention_levels else nn.Identity
        self.before = Stage(parts, inputs, width, attend)
        self.inner = Coarser(parts, width, coarser) if coarser else Stage(parts, width, width, attend)
        self.after = Stage(parts, 2 * width, inputs, attend)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map `x` `(B, inputs, *)` to the same shape."""
        h = self.before(x, embedding)
        return self.after(torch.cat([self.inner(h, embedding), h], dim=1), embedding)


class Stage(nn.Module):
    """Blocks one after the other, then attention where the level has it."""

    def __init__(self, parts: Parts, inputs: int, outputs: int, attend: Callable[[int], nn.Module]) -> None:
        super().__init__()
        enter = [inputs] + [outputs] * (parts.blocks - 1)
        self.blocks = nn.ModuleList(parts.block(width, outputs) for width in enter)
        self.attention = attend(outputs)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map `x` `(B, inputs, *)` to `(B, outputs, *)`."""
        for block in self.blocks:
            x = block(x, embedding)
        return self.attention(x)


class Coarser(nn.Module):
    """The levels below on every other point, and back."""

    def __init__(self, parts: Parts, width: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.down = parts.resample(width, width, stride=2)
        self.level = Level(parts, width, widths)
        self.up = parts.resample(width, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map `x` `(B, width, *)` to the same shape."""
        return self.up(doubled(self.level(self.down(x), embedding), x.shape[2:]))


def doubled(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Repeat every point twice along each axis, cut to `sizes`: the last point of an odd axis stays single."""
    twice = F.interpolate(x, scale_factor=2.0, mode="nearest")
    for axis, size in enumerate(sizes):
        twice = twice.narrow(2 + axis, 0, size)
    return twice
