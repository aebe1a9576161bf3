"""A multi-layer perceptron, for samples of a few numbers."""

import torch
from torch import Tensor, nn

from scoreda.diffusion.networks.base import ACTIVATIONS, Network
from scoreda.diffusion.networks.blocks import zeroed
from scoreda.errors import choose

__all__ = ["MLP"]


class MLP(Network):
    """A multi-layer perceptron whose input ends with `c_noise`, for samples of a few numbers.

    Samples are flattened, so `(B, D)` and `(B, C, L)` with `C L = D` are the same to it. A condition is `(B or 1,
    conditioning)`, without the axes of the domain.

    Args:
        channels: Numbers per sample, D.
        width: Hidden units.
        layers: Hidden layers.
        activation: "mish", "silu", "gelu" or "tanh".
        conditioning: Numbers in a condition.
    """

    name = "mlp"
    dimensions = 0

    def __init__(
        self, channels: int = 2, width: int = 64, layers: int = 4, activation: str = "silu", conditioning: int = 0
    ) -> None:
        super().__init__(channels, conditioning, width=width, layers=layers, activation=activation)
        act = choose("activation", activation, ACTIVATIONS)
        enter = [self.inputs + 1] + [width] * (layers - 1)
        hidden = [module for inputs in enter for module in (nn.Linear(inputs, width), act())]
        self.layers = nn.Sequential(*hidden, zeroed(nn.Linear(width, channels)))

    def forward(
        self, x: Tensor, c_noise: Tensor, condition: Tensor | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Map `x` `(B, *)` of `channels` numbers each to the same shape; see `Network`."""
        return super().forward(x.flatten(1), c_noise, condition, given).reshape(x.shape)

    def check(self, x: Tensor) -> None:
        """Refuse samples of another number of numbers; see `Network`."""
        super().check(x.flatten(1))

    def body(self, h: Tensor, c_noise: Tensor) -> Tensor:
        """Map `h` `(B, inputs)` to `(B, channels)`."""
        return self.layers(torch.cat([h, c_noise.to(h)[:, None]], dim=1))
