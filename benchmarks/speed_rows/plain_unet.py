"""The U-Net of the preset "lorenz96_unet" as its source has it, of plain layers: what a training step is beside."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PlainUNet"]

WIDTHS, TIMES, EMBEDDING = (32, 64, 128), 32, 128


def ring_convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="circular")


class Half(nn.Module):
    """Convolution, norm over the channels with a gain, modulation, SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution, self.gain = ring_convolution(inputs, outputs, 3), nn.Parameter(torch.ones(outputs, 1))

    def forward(self, x: Tensor, scale: Tensor | float = 0.0, shift: Tensor | float = 0.0) -> Tensor:
        x = self.convolution(x)
        x = F.normalize(x, dim=1) * math.sqrt(x.shape[1]) * self.gain
        return F.silu(x * (scale + 1) + shift)


class Block(nn.Module):
    """Two halves, added to the input."""

    def __init__(self, inputs: int, outputs: int, embedding: int = EMBEDDING) -> None:
        super().__init__()
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * outputs)) if embedding else None
        self.first, self.second = Half(inputs, outputs), Half(outputs, outputs)
        self.carry = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        told = self.modulation(embedding)[..., None].chunk(2, dim=1) if self.modulation else ()
        return self.second(self.first(x, *told)) + self.carry(x)


class PlainUNet(nn.Module):
    """Windows `(B, 32, L)` whose times are channels, and the number of the step `(B,)`, to the noise."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(TIMES, EMBEDDING), nn.GELU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.enter = ring_convolution(TIMES, WIDTHS[0], 5)
        pairs = list(zip(WIDTHS[:1] + WIDTHS[:-1], WIDTHS, strict=True))
        self.before = nn.ModuleList(nn.ModuleList([Block(a, b), Block(b, b)]) for a, b in pairs)
        self.after = nn.ModuleList(nn.ModuleList([Block(2 * b, a), Block(a, a)]) for a, b in reversed(pairs))
        self.down = nn.ModuleList(ring_convolution(b, b, 5, stride=2) for b in WIDTHS[:-1])
        self.up = nn.ModuleList(ring_convolution(b, b, 5) for b in reversed(WIDTHS[:-1]))
        self.bottom = nn.ModuleList(Block(WIDTHS[-1], WIDTHS[-1]) for _ in range(2))
        self.last, self.leave = Block(2 * WIDTHS[0], WIDTHS[0], 0), nn.Conv1d(WIDTHS[0], TIMES, 1)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """Map windows at steps `(B,)` to their noise."""
        angle = step[:, None] * torch.exp(-math.log(1000.0) * torch.linspace(0, 1, TIMES // 2))
        embedding = self.time(torch.cat([angle.sin(), angle.cos()], dim=-1))
        entered, kept = self.enter(x), []
        x = entered
        for level, blocks in enumerate(self.before):
            x = self.down[level - 1](x) if level else x
            for block in blocks:
                x = block(x, embedding)
            kept.append(x)
        for block in self.bottom:
            x = block(x, embedding)
        for level, blocks in enumerate(self.after):
            x = self.up[level - 1](F.interpolate(x, scale_factor=2.0)) if level else x
            x = torch.cat([x, kept.pop()], dim=1)
            for block in blocks:
                x = block(x, embedding)
        return self.leave(self.last(torch.cat([x, entered], dim=1), embedding))
