"""Attention between the points of a field."""

from collections.abc import Callable

from torch import Tensor, nn

from scoreda.diffusion.networks.blocks import NORMS, zeroed
from scoreda.errors import choose

__all__ = ["ATTENTIONS", "Attention"]


class Attention(nn.Module):
    """Every point reads from every other one; added to the input.

    It knows no positions, so any domain size will do, and permuted points give permuted outputs.

    Args:
        width: Channels, a multiple of `heads`.
        heads: Independent readings, of `width / heads` channels each.
        kind: "full", quadratic in the number of points, or "linear".
        norm: "channel" or "group".
    """

    def __init__(self, width: int, heads: int, kind: str, norm: str = "channel") -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"`heads` must divide the width, got {heads} heads and width {width}. Pass heads=1.")
        self.attend, self.norm, self.heads = choose("attention", kind, ATTENTIONS), choose("norm", norm, NORMS), heads
        self.enter = nn.Linear(width, 3 * width, bias=False)
        self.leave = zeroed(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` `(B, width, *)` to the same shape."""
        points = self.norm(x).flatten(2).mT
        q, k, v = self.enter(points).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        read = self.attend(q, k, v).transpose(1, 2).flatten(2)
        return x + self.leave(read).mT.reshape(x.shape)


def full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v for `(B, heads, points, d)`.

    Written out, because the fused kernels of torch have no forward-mode derivative, which guidance takes.
    Source: Vaswani et al. (2017), eq. 1, https://arxiv.org/abs/1706.03762
    """
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v


def linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q) (softmax(k)^T v), over channels and over points; never a points-by-points matrix.

    Source: Shen et al. (2021), eq. 4, https://arxiv.org/abs/1812.01243
    """
    return q.softmax(-1) @ (k.softmax(-2).mT @ v)


ATTENTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"full": full, "linear": linear}
