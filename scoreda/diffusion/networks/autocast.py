"""A network that computes in half precision."""

from typing import Any

import torch
from torch import Tensor, nn

from scoreda.diffusion.networks.base import Network
from scoreda.diffusion.networks.causal import CausalWindow
from scoreda.diffusion.networks.locality import Locality
from scoreda.errors import choose

__all__ = ["Autocast"]

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Autocast(nn.Module):
    """A network as itself, its convolutions and matrix products in half precision; weights and answers keep theirs.

    As a network it goes wherever a network does: into a denoiser, a prior (`prior.autocast()`), under guidance, whose
    own arithmetic keeps its precision. It pays where the processor multiplies in half precision, and on a CPU most of
    all under `Compiled`, which fuses the conversions.

    Args:
        network: Any.
        dtype: "bfloat16", or "float16", which has three more bits and fewer
            powers of two.

    Raises:
        ScoredaError: if `dtype` is neither.
    """

    name = "autocast"

    def __init__(self, network: Network | CausalWindow, dtype: str = "bfloat16") -> None:
        super().__init__()
        choose("dtype", dtype, DTYPES)
        self.network, self.dtype = network, dtype
        self.channels, self.dimensions = network.channels, network.dimensions

    def forward(
        self, x: Tensor, c_noise: Tensor, condition: Tensor | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Map `x` `(B, C, *)` as the network does, up to rounding; see `Network`."""
        self.check(x)
        with torch.autocast(x.device.type, DTYPES[self.dtype]):
            return self.network(x, c_noise, condition, given).to(x.dtype)

    def check(self, x: Tensor) -> None:
        """Refuse what the network cannot map; see `Network`."""
        self.network.check(x)

    def locality(self, channels: int | None = None) -> Locality:
        """Return how far the network looks; see `Network`."""
        return self.network.locality(channels)

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the network."""
        return dict(name=self.name, network=self.network.spec(), dtype=self.dtype)
