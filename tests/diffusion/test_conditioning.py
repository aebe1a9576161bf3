"""Conditions beside the state, with a mask that tells a sample without one from a condition of zeros."""

import pytest
import torch
from drawn_networks import SIGMA, drawn, fields

DOMAINS = {"convnet1d": (12,), "convnet2d": (5, 6), "unet1d": (12,), "unet2d": (6, 7), "mlp": ()}
SETTINGS = {"mlp": dict(width=8), "unet1d": dict(widths=[4, 6]), "unet2d": dict(widths=[4, 6])}

every_network = pytest.mark.parametrize("name", DOMAINS)


def make(name):
    """A network with two channels of condition, samples, and conditions."""
    settings = SETTINGS.get(name, dict(width=6, blocks=1, kernel=3))
    network = drawn(name, channels=2, conditioning=2, **settings)
    return network, fields(2, *DOMAINS[name]), fields(2, *DOMAINS[name], seed=2)


@every_network
def test_that_a_condition_changes_the_output_of_its_own_sample_only(name):
    network, x, condition = make(name)
    other = condition.clone()
    other[1] += 1.0
    change = (network(x, SIGMA, condition) - network(x, SIGMA, other)).abs().flatten(1).amax(dim=1)
    assert change[1] > 1e-3 and change[0] == change[2] == 0


@every_network
def test_that_samples_without_their_condition_are_as_if_nobody_had_one(name):
    network, x, condition = make(name)
    given = torch.tensor([True, False, True])
    hidden = condition.clone()
    hidden[1] = torch.nan
    expected = torch.where(given.reshape(3, *(1,) * (x.ndim - 1)), network(x, SIGMA, condition), network(x, SIGMA))
    torch.testing.assert_close(network(x, SIGMA, hidden, given), expected)


@every_network
def test_that_no_condition_is_not_a_condition_of_zeros(name):
    network, x, condition = make(name)
    assert not torch.allclose(network(x, SIGMA), network(x, SIGMA, torch.zeros_like(condition)), rtol=1e-3)


@every_network
def test_that_one_condition_serves_all_samples(name):
    network, x, condition = make(name)
    every = condition[:1].expand(condition.shape)
    assert torch.equal(network(x, SIGMA, condition[:1]), network(x, SIGMA, every))


@every_network
def test_that_conditions_of_another_shape_are_refused(name):
    network, x, condition = make(name)
    for wrong in (condition[:, :1], condition[:2], condition[..., None]):
        with pytest.raises(ValueError, match="`condition` must have shape \\(3, 2"):
            network(x, SIGMA, wrong)
    with pytest.raises(ValueError, match="`given` must be one bool per sample, shape \\(3,\\), got \\(2,\\)"):
        network(x, SIGMA, condition, torch.tensor([True, False]))


@every_network
def test_that_a_network_without_conditions_refuses_one(name):
    _, x, condition = make(name)
    with pytest.raises(ValueError, match=f"{name} was built without a condition. Build it with conditioning=2"):
        drawn(name, channels=2, **SETTINGS.get(name, {}))(x, SIGMA, condition)
