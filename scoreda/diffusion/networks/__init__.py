"""Networks for fields on lines, rings, planes and tori, for windows of time, and for a few numbers.

`network(x, c_noise)` maps noisy samples to their own shape. Convolutional networks with the channel norm are local in
space, so one set of weights serves any domain size. The times of a window are channels: `(B, time, L)`; a
`CausalWindow` frees their number. `network.spec()` is plain data, and `network_from_spec` rebuilds the network.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from scoreda.diffusion.networks.attention import Attention
from scoreda.diffusion.networks.autocast import Autocast
from scoreda.diffusion.networks.base import Network
from scoreda.diffusion.networks.causal import CausalWindow
from scoreda.diffusion.networks.convnet import ConvNet1d, ConvNet2d
from scoreda.diffusion.networks.embedding import NoiseEmbedding
from scoreda.diffusion.networks.locality import Locality
from scoreda.diffusion.networks.mlp import MLP
from scoreda.diffusion.networks.presets import PRESETS
from scoreda.diffusion.networks.tiled import Tiled, Tiling
from scoreda.diffusion.networks.unet import UNet1d, UNet2d
from scoreda.errors import construct

__all__ = [
    "MLP",
    "NETWORKS",
    "PRESETS",
    "Attention",
    "Autocast",
    "CausalWindow",
    "ConvNet1d",
    "ConvNet2d",
    "Locality",
    "Network",
    "NoiseEmbedding",
    "Tiled",
    "Tiling",
    "UNet1d",
    "UNet2d",
    "network_from_spec",
]

KINDS = (Autocast, CausalWindow, ConvNet1d, ConvNet2d, MLP, Tiled, UNet1d, UNet2d)
NETWORKS: dict[str, Any] = {kind.name: kind for kind in KINDS}


def network_from_spec(spec: Mapping[str, Any]) -> nn.Module:
    """Build a network, with fresh weights, from `network.spec()`; a network inside it likewise.

    Raises:
        ScoredaError: if there is no network of that name, or it has no such setting.
    """
    inner = {"network": network_from_spec(spec["network"])} if "network" in spec else {}
    return construct("network", {**spec, **inner}, NETWORKS)
