"""A network of a few frames, applied at every time of a sequence of any length."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from scoreda.diffusion.networks.base import Network
from scoreda.diffusion.networks.locality import Locality

__all__ = ["CausalWindow"]


class CausalWindow(nn.Module):
    """A network of k frames as a network of any number T of them: the output at each time sees the last k frames only.

    The channels of a sequence are its frames in order of time, of `variables` channels each. At every time the network
    is given that frame and the k - 1 before it (zeros before the first), and its last frame is kept. So a state may
    be extended forward without changing what was said of the past. A condition is the same for all times.

    Args:
        network: Of `k variables` channels.
        variables: Channels of a frame.
    """

    name = "causal_window"
    channels = None
    """Any multiple of `variables`."""

    def __init__(self, network: Network, variables: int = 1) -> None:
        super().__init__()
        if variables < 1 or network.channels % variables:
            raise ValueError(
                f"`network` must have a multiple of `variables` channels, got {network.channels} and {variables}. "
                "Pass a network with channels=frames * variables."
            )
        self.network, self.variables = network, variables

    @property
    def dimensions(self) -> int | None:
        """Axes of space; None where the inner network leaves them to the samples."""
        return self.network.dimensions or None

    @property
    def frames(self) -> int:
        """Frames that the output at one time depends on, k."""
        return self.network.channels // self.variables

    def forward(
        self, x: Tensor, c_noise: Tensor, condition: Tensor | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Map `x` `(B, T variables, *)` and `c_noise` `(B,)` to the shape of `x`; errors as those of `check`."""
        windows = self._windows(x)
        times = windows.shape[1]
        each = (None if value is None else _repeated(value, len(x), times) for value in (c_noise, condition, given))
        out = self.network(windows.flatten(0, 1), *each)[:, -self.variables :]
        return out.reshape(x.shape)

    def check(self, x: Tensor) -> None:
        """Refuse what the network cannot map.

        Raises:
            ValueError: if the channels of `x` are no multiple of `variables`, or its frames are not the network's.
        """
        self.network.check(self._windows(x)[:, 0])

    def _windows(self, x: Tensor) -> Tensor:
        """Return the last k frames at every time, `(B, T, k variables, *)`."""
        if x.shape[1] % self.variables:
            raise ValueError(f"`x` must have a multiple of {self.variables} channels, got {tuple(x.shape)}.")
        past = x.new_zeros(len(x), (self.frames - 1) * self.variables, *x.shape[2:])
        windows = torch.cat([past, x], dim=1).unfold(1, self.frames * self.variables, self.variables)
        return windows.movedim(-1, 2)

    def locality(self, channels: int | None = None) -> Locality:
        """Return how far the network looks; all times of `channels` channels are at work at once."""
        of_one = self.network.locality()
        return replace(of_one, width=of_one.width * max(1, (channels or 1) // self.variables))

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the network."""
        return dict(name=self.name, network=self.network.spec(), variables=self.variables)


def _repeated(value: Tensor, size: int, times: int) -> Tensor:
    """Return a value `(B or 1, *)` of each sample for all its times, `(B T, *)`."""
    return value.expand(size, *value.shape[1:]).repeat_interleave(times, dim=0)
