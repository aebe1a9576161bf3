"""Networks in float64 with every weight drawn, those that start at zero too, and fields to try them on."""

import torch

from scoreda.diffusion.networks import network_from_spec

SIGMA = torch.tensor([-0.6, 0.1, 0.8], dtype=torch.float64)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def drawn(name, seed=0, **settings):
    network = network_from_spec(dict(name=name) | settings).double()
    g = generator(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=g))
    return network.requires_grad_(False)


def fields(*shape, seed=1):
    """Three samples of shape `(channels, *domain)`."""
    return torch.randn(3, *shape, generator=generator(seed), dtype=torch.float64)


def changed_points(network, shape, where):
    """Points of the domain whose output moves with the input at `where`, in any sample or channel."""
    x = fields(*shape)
    y = x.clone()
    y[(..., *where)] += 1.0
    change = (network(x, SIGMA) - network(y, SIGMA)).abs().amax(dim=(0, 1))
    return {tuple(point) for point in torch.nonzero(change > 1e-13).tolist()}
