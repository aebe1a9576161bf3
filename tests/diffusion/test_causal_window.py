"""Causal windows: no look into the future, any length of time, the inner network at every time."""

import pytest
import torch
from drawn_networks import SIGMA, drawn, fields

from scoreda.diffusion.networks import CausalWindow, ConvNet1d

CONV = dict(width=6, blocks=1, kernel=3, embedding=8)


def make_network(frames=3, variables=1, name="convnet1d", **settings):
    inner = dict(name=name, channels=frames * variables) | CONV | settings
    return drawn("causal_window", network=inner, variables=variables)


@pytest.mark.parametrize("variables", [1, 2])
def test_that_the_output_at_a_time_depends_on_the_last_frames_only(variables):
    network, x = make_network(variables=variables), fields(8 * variables, 12)
    y = x.clone()
    y[:, 4 * variables] += 1.0
    change = (network(x, SIGMA) - network(y, SIGMA)).abs().unflatten(1, (8, variables)).amax(dim=(0, 2, 3))
    assert torch.nonzero(change > 1e-13).flatten().tolist() == [4, 5, 6]


def test_that_a_longer_sequence_leaves_the_past_as_it_was():
    network, x = make_network(), fields(50, 12)
    for length in (1, 2, 7):
        torch.testing.assert_close(network(x[:, :length], SIGMA), network(x, SIGMA)[:, :length])


@pytest.mark.parametrize("variables", [1, 2])
def test_that_it_is_the_inner_network_on_every_window(variables):
    network, x = make_network(variables=variables), fields(6 * variables, 12)
    padded = torch.cat([torch.zeros(3, 2 * variables, 12, dtype=torch.float64), x], dim=1)
    windows = [padded[:, start : start + 3 * variables] for start in range(0, 6 * variables, variables)]
    expected = torch.cat([network.network(window, SIGMA)[:, -variables:] for window in windows], dim=1)
    torch.testing.assert_close(network(x, SIGMA), expected)


def test_that_planes_have_a_time_as_well():
    network, x = make_network(name="convnet2d"), fields(5, 6, 7)
    last = network.network(x[:, -3:], SIGMA)[:, -1]
    torch.testing.assert_close(network(x, SIGMA)[:, -1], last)


def test_that_a_condition_is_the_same_at_all_times():
    network, x, condition = make_network(conditioning=2), fields(5, 12), fields(2, 12, seed=2)
    given = torch.tensor([True, False, True])
    last = network.network(x[:, -3:], SIGMA, condition, given)[:, -1]
    torch.testing.assert_close(network(x, SIGMA, condition, given)[:, -1], last)
    one = network(x, SIGMA, condition[:1])
    torch.testing.assert_close(one, network(x, SIGMA, condition[:1].expand(3, -1, -1)))


def test_that_frames_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="multiple of `variables` channels, got 3 and 2. Pass a network with"):
        CausalWindow(ConvNet1d(channels=3, **CONV), variables=2)
    with pytest.raises(ValueError, match="multiple of 2 channels, got \\(3, 5, 12\\)"):
        make_network(variables=2).check(fields(5, 12))
    with pytest.raises(ValueError, match="convnet1d maps \\(B, 3, L\\), got \\(3, 3, 6, 7\\)"):
        make_network().check(fields(5, 6, 7))
