"""What every network is, and how it takes a condition."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scoreda.diffusion.networks.locality import Locality, not_local

__all__ = ["ACTIVATIONS", "Network"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "mish": nn.Mish, "silu": nn.SiLU, "tanh": nn.Tanh}

AXES = {0: "", 1: ", L", 2: ", H, W"}


class Network(nn.Module, ABC):
    """A map of noisy samples: `network(x, c_noise, condition=None, given=None)`, of the shape of `x`.

    With `conditioning` channels, the condition enters beside the state, followed by a mask channel: 1 where the sample
    has a condition, 0 where it has none (then its channels are zero as well). So one network learns with and without:
    to drop conditions in training, pass `given`. A condition with gaps of its own brings a mask as one more channel.

    Attributes:
        channels: Channels of `x`.
        conditioning: Channels of the condition; 0 for a network that takes none.
        settings: What rebuilds the network.
    """

    name: str
    dimensions: int

    def __init__(self, channels: int, conditioning: int, **settings: Any) -> None:
        super().__init__()
        self.channels, self.conditioning = channels, conditioning
        optional = {"conditioning": conditioning} if conditioning else {}
        self.settings = {k: _plain(v) for k, v in (dict(channels=channels) | settings | optional).items()}
        for name, value in self.settings.items():
            _refuse_sizes(name, value)

    @property
    def inputs(self) -> int:
        """Channels that enter: of the state, of the condition and of its mask."""
        return self.channels + (self.conditioning + 1 if self.conditioning else 0)

    @abstractmethod
    def body(self, h: Tensor, c_noise: Tensor) -> Tensor:
        """Map `h` `(B, inputs, *)` at noise levels `c_noise` `(B,)` to `(B, channels, *)`."""

    def forward(
        self, x: Tensor, c_noise: Tensor, condition: Tensor | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Map `x` `(B, channels, *)`, with one axis per dimension of the domain, to the same shape.

        Args:
            x: Noisy samples.
            c_noise: What stands for the noise level, `(B,)`: `ln(sigma) / 4` or the number of a step.
            condition: `(B or 1, conditioning, *)`; None gives no sample a condition.
            given: Which samples have their condition, `(B,)` bool; default all. The others' values are not looked at.

        Raises:
            ValueError: if shape, dtype or device are not the network's, or it takes no condition.
        """
        self.check(x)
        if self.conditioning:
            x = joined(x, condition, given, self.conditioning)
        elif condition is not None:
            raise ValueError(
                f"{self.name} was built without a condition. Build it with conditioning={condition.shape[1]}."
            )
        return self.body(x, c_noise)

    def check(self, x: Tensor) -> None:
        """Refuse what the network cannot map.

        Raises:
            ValueError: if shape, dtype or device of `x` are not the network's.
        """
        if x.ndim != self.dimensions + 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"{self.name} maps (B, {self.channels}{AXES[self.dimensions]}), got {tuple(x.shape)}. "
                "Reshape the samples, or build the network with their number of channels."
            )
        weight = next(self.parameters())
        if x.device != weight.device or (x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type)):
            raise ValueError(
                f"{self.name} is {weight.dtype} on {weight.device}, got samples of {x.dtype} on {x.device}. "
                f"Pass samples.to('{weight.device}', {weight.dtype}), or move the network."
            )

    def locality(self, channels: int | None = None) -> Locality:
        """Return how far the network looks; `channels` is for networks that take any number of them.

        Raises:
            ValueError: if an output depends on all of the field.
        """
        raise not_local(self.name, "every output depends on all numbers of a sample")

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the network."""
        return dict(name=self.name, **self.settings)


def joined(x: Tensor, condition: Tensor | None, given: Tensor | None, conditioning: int) -> Tensor:
    """Return state, condition and mask as `(B, C + conditioning + 1, *)`.

    Raises:
        ValueError: if the condition is not `(B or 1, conditioning, *)`, or `given` not `(B,)`.
    """
    shape, ones = (len(x), conditioning, *x.shape[2:]), (1,) * (x.ndim - 1)
    if condition is None:
        return torch.cat([x, x.new_zeros(shape), x.new_zeros(len(x), 1, *x.shape[2:])], dim=1)
    if condition.shape[1:] != shape[1:] or len(condition) not in (1, len(x)):
        raise ValueError(f"`condition` must have shape {shape} (or 1 for all samples), got {tuple(condition.shape)}.")
    if given is not None and given.shape != (len(x),):
        raise ValueError(f"`given` must be one bool per sample, shape ({len(x)},), got {tuple(given.shape)}.")
    mask = x.new_ones(len(x), *ones, dtype=torch.bool) if given is None else given.reshape(-1, *ones)
    values = torch.where(mask, condition.to(x), 0.0)
    return torch.cat([x, values, mask.to(x).expand(-1, 1, *x.shape[2:])], dim=1)


def _plain(value: Any) -> Any:
    """Return mappings and sequences as what a file holds: dict and list."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _refuse_sizes(name: str, value: Any) -> None:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(type(number) is int and number < 1 for number in numbers):
        raise ValueError(f"`{name}` must be at least 1, got {value}.")
