"""Convolutional networks: local, equivariant on rings, with edges elsewhere, of any domain size."""

import pytest
import torch
from drawn_networks import SIGMA, changed_points, drawn, fields
from torch.nn.functional import pad

from scoreda.diffusion import ConvNet1d, load_prior
from scoreda.diffusion.networks import ConvNet2d


def make_network(dimensions=1, **settings):
    return drawn(f"convnet{dimensions}d", **dict(width=6, blocks=2, kernel=5, embedding=8) | settings)


@pytest.mark.parametrize("size", [40, 41, 400])
@pytest.mark.parametrize("channels", [1, 2])
def test_that_a_rolled_ring_gives_the_rolled_output_at_any_length(size, channels):
    network, x = make_network(channels=channels), fields(channels, size)
    out = network(x, SIGMA)
    assert out.shape == x.shape
    torch.testing.assert_close(network(x.roll(7, dims=-1), SIGMA), out.roll(7, dims=-1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("times", [3, 1000])
def test_that_a_repeated_ring_gives_the_repeated_output(times):
    network, x = make_network(), fields(1, 40)
    torch.testing.assert_close(network(x.repeat(1, 1, times), SIGMA), network(x, SIGMA).repeat(1, 1, times))


def test_that_a_mirrored_ring_does_not_give_the_mirrored_output():
    network, x = make_network(), fields(1, 40)
    assert not torch.allclose(network(x.flip(-1), SIGMA), network(x, SIGMA).flip(-1), atol=1e-2)


@pytest.mark.parametrize(("blocks", "kernel"), [(1, 3), (2, 5), (3, 3), (1, 1)])
def test_that_the_receptive_field_is_the_documented_one(blocks, kernel):
    reach = ((2 * blocks + 2) * (kernel - 1) + 1) // 2
    found = changed_points(make_network(blocks=blocks, kernel=kernel), (1, 60), (30,))
    assert found == {(i,) for i in range(30 - reach, 30 + reach + 1)}


def test_that_only_a_ring_wraps_around():
    reach, other_side = {(i,) for i in range(13)}, {(i,) for i in range(28, 40)}
    assert changed_points(make_network(circular=False), (1, 40), (0,)) == reach
    assert changed_points(make_network(circular=True), (1, 40), (0,)) == reach | other_side


@pytest.mark.parametrize("circular", [(False, True), (True, False), True, False])
def test_that_each_axis_of_a_plane_wraps_around_or_not(circular):
    rings = (circular, circular) if isinstance(circular, bool) else circular
    network = make_network(2, blocks=1, kernel=3, circular=circular)
    rows, columns = ({0, 1, 2, 3, 4} | ({8, 9, 10, 11} if ring else set()) for ring in rings)
    assert changed_points(network, (1, 12, 12), (0, 0)) == {(i, j) for i in rows for j in columns}


@pytest.mark.parametrize("dimensions", [1, 2])
def test_that_a_line_repeats_its_edge_values(dimensions):
    network = make_network(dimensions, circular=False)
    constant = torch.full((3, 1, *(20, 15)[:dimensions]), 0.7, dtype=torch.float64)
    out = network(constant, SIGMA)
    torch.testing.assert_close(out, out.flatten(2)[..., 0].reshape(3, 1, *(1,) * dimensions).expand_as(out))


@pytest.mark.parametrize("circular", [(True, True), (False, True)])
def test_that_a_plane_constant_along_one_axis_is_a_line(circular):
    plane, line = make_network(2, circular=circular), make_network(1, circular=circular[1])
    summed = {name: w.sum(-2) if w.ndim == 4 else w for name, w in plane.state_dict().items()}
    line.load_state_dict(summed)
    x = fields(1, 20)
    out = plane(x[:, :, None].expand(-1, -1, 9, -1), SIGMA)
    torch.testing.assert_close(out, line(x, SIGMA)[:, :, None].expand_as(out))


def test_that_a_rolled_torus_gives_the_rolled_output():
    network, x = make_network(2, channels=2), fields(2, 9, 14)
    rolled = network(x.roll((4, 5), dims=(-2, -1)), SIGMA)
    torch.testing.assert_close(rolled, network(x, SIGMA).roll((4, 5), dims=(-2, -1)), rtol=1e-10, atol=1e-10)


def test_that_a_network_of_latitude_and_longitude_rolls_along_longitude_only():
    network, x = make_network(2, circular=(False, True)), fields(1, 9, 14)
    out = network(x, SIGMA)
    torch.testing.assert_close(network(x.roll(5, dims=-1), SIGMA), out.roll(5, dims=-1), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(network(x.roll(4, dims=-2), SIGMA), out.roll(4, dims=-2), atol=1e-2)


def test_that_the_convolution_of_a_ring_is_the_one_of_its_wrapped_copy():
    layer, x = make_network().enter, fields(1, 11)
    wrapped = pad(x, (2, 2), mode="circular")
    torch.testing.assert_close(layer(x), torch.nn.functional.conv1d(wrapped, layer.weight, layer.bias))


def test_that_a_ring_shorter_than_half_a_kernel_is_refused():
    with pytest.raises(ValueError, match="ring of \\(2,\\) points is shorter than half a kernel, 3"):
        ConvNet1d(width=4, kernel=7)(torch.zeros(1, 1, 2), torch.zeros(1))


def test_that_the_shipped_prior_keeps_its_architecture():
    """Files written by earlier versions name these weights and settings."""
    network = load_prior("lorenz96").denoiser.network
    assert list(network.spec()) == ["name", "channels", "width", "blocks", "kernel", "circular", "embedding"]
    first = [name for name in network.state_dict() if "blocks" not in name or ".0." in name]
    assert first == [
        "embedding.mlp.0.weight", "embedding.mlp.0.bias", "embedding.mlp.2.weight", "embedding.mlp.2.bias",
        "enter.weight", "enter.bias", "blocks.0.modulation.weight", "blocks.0.modulation.bias",
        "blocks.0.first.weight", "blocks.0.first.bias", "blocks.0.second.weight", "blocks.0.second.bias",
        "leave.weight", "leave.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "settings", [{"kernel": 4}, {"width": 0}, {"blocks": 0}, {"channels": 0}, {"embedding": 1}, {"conditioning": -1}]
)
@pytest.mark.parametrize("kind", [ConvNet1d, ConvNet2d])
def test_that_sizes_without_a_network_are_refused(kind, settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}.* must be .* got {next(iter(settings.values()))}"):
        kind(**settings)
