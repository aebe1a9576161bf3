"""Networks for fields on a line or ring.

Everything is local in space (convolutions, and norms over channels only), so one set of weights serves any domain
length.
"""

from scoreda.diffusion.networks.convnet import ConvNet1d
from scoreda.diffusion.networks.embedding import NoiseEmbedding

__all__ = ["NETWORKS", "ConvNet1d", "NoiseEmbedding"]

NETWORKS = {kind.name: kind for kind in (ConvNet1d,)}
