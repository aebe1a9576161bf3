"""What convolutional networks are built of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Conv1d", "ResidualBlock", "channel_norm"]


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
