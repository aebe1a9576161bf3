"""Networks: local, equivariant on a ring, of any domain length, and blind to the rest of the batch."""

import pytest
import torch

from scoreda.diffusion import ConvNet1d
from scoreda.diffusion.networks import NETWORKS

SIGMA = torch.tensor([-0.6, 0.1, 0.8], dtype=torch.float64)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def make_network(**settings):
    """A network in float64 with every weight drawn, those that start at zero too."""
    network = ConvNet1d(**dict(width=6, blocks=2, kernel=5, embedding=8) | settings).double()
    g = generator(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=g))
    return network.requires_grad_(False)


def fields(size, channels=1, seed=1):
    return torch.randn(3, channels, size, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [40, 41, 400])
@pytest.mark.parametrize("channels", [1, 2])
def test_that_a_rolled_ring_gives_the_rolled_output_at_any_length(size, channels):
    network, x = make_network(channels=channels), fields(size, channels)
    out = network(x, SIGMA)
    assert out.shape == x.shape
    torch.testing.assert_close(network(x.roll(7, dims=-1), SIGMA), out.roll(7, dims=-1), rtol=1e-10, atol=1e-10)


def test_that_a_repeated_ring_gives_the_repeated_output():
    network, x = make_network(), fields(40)
    torch.testing.assert_close(network(x.repeat(1, 1, 3), SIGMA), network(x, SIGMA).repeat(1, 1, 3))


def test_that_a_mirrored_ring_does_not_give_the_mirrored_output():
    network, x = make_network(), fields(40)
    assert not torch.allclose(network(x.flip(-1), SIGMA), network(x, SIGMA).flip(-1), atol=1e-2)


def test_that_a_sample_does_not_depend_on_the_batch():
    network, x = make_network(), fields(40)
    alone = torch.cat([network(x[i : i + 1], SIGMA[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(x, SIGMA), alone, rtol=1e-12, atol=1e-12)


def test_that_the_noise_level_changes_the_output():
    network, x = make_network(), fields(40)
    change = (network(x, SIGMA) - network(x, SIGMA + 0.01)).abs().amax(dim=(1, 2))
    assert (change > 1e-4).all()


def changed_points(network, size, where):
    """Grid points whose output moves with the input at `where`."""
    x = fields(size)
    y = x.clone()
    y[..., where] += 1.0
    change = (network(x, SIGMA) - network(y, SIGMA)).abs().amax(dim=(0, 1))
    return set(torch.nonzero(change > 1e-13).flatten().tolist())


@pytest.mark.parametrize(("blocks", "kernel"), [(1, 3), (2, 5), (3, 3), (1, 1)])
def test_that_the_receptive_field_is_the_documented_one(blocks, kernel):
    reach = ((2 * blocks + 2) * (kernel - 1) + 1) // 2
    found = changed_points(make_network(blocks=blocks, kernel=kernel), 60, 30)
    assert found == set(range(30 - reach, 30 + reach + 1))


def test_that_only_a_ring_wraps_around():
    reach = set(range(13))
    assert changed_points(make_network(circular=False), 40, 0) == reach
    assert changed_points(make_network(circular=True), 40, 0) == reach | set(range(28, 40))


def test_that_a_line_repeats_its_edge_values():
    network, constant = make_network(circular=False), torch.full((3, 1, 20), 0.7, dtype=torch.float64)
    out = network(constant, SIGMA)
    torch.testing.assert_close(out, out[..., :1].expand_as(out))


def test_that_an_untrained_network_gives_zero():
    assert torch.equal(ConvNet1d()(torch.ones(2, 1, 16), torch.zeros(2)), torch.zeros(2, 1, 16))


def test_that_a_network_is_rebuilt_from_its_spec():
    network = make_network(channels=2, circular=False)
    spec = network.spec()
    again = NETWORKS[spec.pop("name")](**spec).double()
    again.load_state_dict(network.state_dict())
    x = fields(20, channels=2)
    assert torch.equal(again(x, SIGMA), network(x, SIGMA))


@pytest.mark.parametrize("settings", [{"kernel": 4}, {"width": 0}, {"blocks": 0}, {"channels": 0}, {"embedding": 1}])
def test_that_sizes_without_a_network_are_refused(settings):
    with pytest.raises(ValueError, match=f"'{next(iter(settings))}': {next(iter(settings.values()))}"):
        ConvNet1d(**settings)
