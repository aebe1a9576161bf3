"""What convolutional networks are built of, on lines and rings, planes and tori."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scoreda.errors import choose

__all__ = ["BLOCKS", "NORMS", "Conv", "FilmBlock", "Modulation", "ResidualBlock", "axes", "channel_norm", "zeroed"]

LAYERS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d}
CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d}


class Conv(nn.Module):
    """A convolution that keeps the size of the domain, or with a stride divides it, rounding up.

    Args:
        inputs: Channels that enter.
        outputs: Channels that leave.
        kernel: Odd kernel size, along every axis.
        circular: Per axis, whether it is periodic; otherwise edge values are repeated.
        stride: Grid points per output point.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, circular: Sequence[bool], stride: int = 1) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"the kernel of a convolution must be odd, got {kernel}. Pass {kernel + 1}.")
        layer = LAYERS[len(circular)](inputs, outputs, kernel)
        self.weight, self.bias = layer.weight, layer.bias
        self.reach, self.circular, self.stride = kernel // 2, tuple(circular), stride

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` `(B, C, L)` or `(B, C, H, W)`."""
        return CONVOLUTIONS[len(self.circular)](self._padded(x), self.weight, self.bias, self.stride)

    def _padded(self, x: Tensor) -> Tensor:
        if any(ring and size < self.reach for ring, size in zip(self.circular, x.shape[2:], strict=True)):
            raise ValueError(
                f"a ring of {tuple(x.shape[2:])} points is shorter than half a kernel, {self.reach}. "
                "Use a smaller kernel, fewer levels or a larger domain."
            )
        lines = [not ring for ring in self.circular]
        if self.reach and any(lines):
            x = F.pad(x, [self.reach * on for on in reversed(lines) for _ in range(2)], mode="replicate")
        for axis, ring in enumerate(self.circular, start=2):
            x = wrapped(x, axis, self.reach) if self.reach and ring else x
        return x


def wrapped(x: Tensor, axis: int, reach: int) -> Tensor:
    """Continue a ring beyond its ends, as a circular `pad` does by three copies into a tensor, by one operation."""
    return torch.cat([x.narrow(axis, x.shape[axis] - reach, reach), x, x.narrow(axis, 0, reach)], dim=axis)


class Modulation(nn.Linear):
    """Scale and shift of every channel by the noise level (Perez et al., 2018, https://arxiv.org/abs/1709.07871)."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__(embedding, 2 * width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        """Modulate `x` `(B, width, *)` by `embedding` `(B, E)`."""
        both = super().forward(embedding)
        scale, shift = both.reshape(*both.shape, *(1,) * (x.ndim - 2)).chunk(2, dim=1)
        return x * (1 + scale) + shift


class ResidualBlock(nn.Module):
    """Norm, modulation by the noise level, SiLU, convolution, SiLU, convolution; added to the input.

    Args:
        inputs: Channels that enter.
        outputs: Channels that leave; where they differ, a 1-point convolution carries the input over.
        kernel: Odd kernel size.
        circular: Per axis, whether it is periodic.
        embedding: Size of the noise embedding; 0 leaves the modulation out.
        norm: "channel" or "group".
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, circular: Sequence[bool], embedding: int, norm: str = "channel"
    ) -> None:
        super().__init__()
        self.norm = choose("norm", norm, NORMS)
        self.modulation = Modulation(inputs, embedding) if embedding else None
        self.first = Conv(inputs, outputs, kernel, circular)
        self.second = zeroed(Conv(outputs, outputs, kernel, circular))
        self.carry = nn.Identity() if inputs == outputs else Conv(inputs, outputs, 1, circular)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map `x` `(B, inputs, *)` to `(B, outputs, *)`."""
        h = self.norm(x)
        if self.modulation is not None:
            h = self.modulation(h, embedding)
        return self.carry(x) + self.second(F.silu(self.first(F.silu(h))))


class FilmBlock(nn.Module):
    """Convolution, norm with a learned gain, modulation, SiLU; convolution, norm, SiLU; added to the input.

    The older order of the two; arguments as those of `ResidualBlock`.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, circular: Sequence[bool], embedding: int, norm: str = "channel"
    ) -> None:
        super().__init__()
        self.norm = choose("norm", norm, NORMS)
        self.modulation = Modulation(outputs, embedding) if embedding else None
        self.first = Conv(inputs, outputs, kernel, circular)
        self.second = Conv(outputs, outputs, kernel, circular)
        self.gains = nn.Parameter(torch.ones(2, outputs, *(1,) * len(circular)))
        self.carry = nn.Identity() if inputs == outputs else Conv(inputs, outputs, 1, circular)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map `x` `(B, inputs, *)` to `(B, outputs, *)`."""
        h = self.gains[0] * self.norm(self.first(x))
        if self.modulation is not None:
            h = self.modulation(h, embedding)
        return self.carry(x) + F.silu(self.gains[1] * self.norm(self.second(F.silu(h))))


def axes(circular: bool | Sequence[bool], dimensions: int) -> tuple[bool, ...]:
    """Return per axis whether it is periodic, from one answer for all or one each.

    Raises:
        ValueError: if there are not `dimensions` answers.
    """
    each = (circular,) * dimensions if isinstance(circular, bool) else tuple(circular)
    if len(each) != dimensions:
        raise ValueError(f"`circular` must be one bool or {dimensions} of them, one per axis, got {circular}.")
    return each


def channel_norm(x: Tensor) -> Tensor:
    """Scale every position to unit mean square over its channels; local, so tiles of a field give the same answer."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)


def group_norm(x: Tensor) -> Tensor:
    """Scale up to eight groups, of four channels or more, to mean 0, variance 1 over the domain (Wu & He, 2018)."""
    channels = x.shape[1]
    return F.group_norm(x, math.gcd(8, channels, max(channels // 4, 1)))


def zeroed(layer: nn.Module) -> nn.Module:
    """Return `layer` with all its weights zero."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


NORMS: dict[str, Callable[[Tensor], Tensor]] = {"channel": channel_norm, "group": group_norm}
BLOCKS: dict[str, Callable[..., nn.Module]] = {"residual": ResidualBlock, "film": FilmBlock}
