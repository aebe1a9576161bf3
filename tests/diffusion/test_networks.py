"""What holds for every network, and where networks come from."""

import json

import pytest
import torch
from drawn_networks import SIGMA, drawn, fields

from scoreda.diffusion.networks import NETWORKS, PRESETS, NoiseEmbedding, network_from_spec
from scoreda.errors import ScoredaError

CONV = dict(width=6, blocks=1, kernel=3, embedding=8)
UNET = dict(widths=[4, 8], blocks=1, embedding=8, heads=2)
# Every kind of network, small, and the shape of a sample.
CASES = {
    "convnet1d": (dict(name="convnet1d", channels=2, **CONV), (2, 12)),
    "convnet1d told": (dict(name="convnet1d", conditioning=2, **CONV), (1, 12)),
    "convnet2d": (dict(name="convnet2d", circular=[False, True], **CONV), (1, 6, 8)),
    "unet1d": (dict(name="unet1d", channels=2, **UNET), (2, 13)),
    "unet1d of film blocks": (dict(name="unet1d", block="film", **UNET), (1, 13)),
    "unet1d by group": (dict(name="unet1d", norm="group", **UNET), (1, 13)),
    "unet1d attending": (dict(name="unet1d", attention="full", **UNET), (1, 13)),
    "unet2d attending": (dict(name="unet2d", attention="linear", attention_levels=2, **UNET), (1, 6, 7)),
    "unet1d of random frequencies": (
        dict(name="unet1d", **UNET | dict(embedding=dict(width=8, kind="fourier", scale=3.0))), (1, 13),
    ),
    "mlp": (dict(name="mlp", channels=6, width=8), (3, 2)),
    "causal_window": (dict(name="causal_window", network=dict(name="convnet1d", channels=3, **CONV)), (5, 12)),
    "autocast": (dict(name="autocast", network=dict(name="convnet1d", channels=2, **CONV)), (2, 12)),
    "tiled": (dict(name="tiled", network=dict(name="convnet1d", **CONV), memory=2**14), (1, 40)),
}  # fmt: skip

every_network = pytest.mark.parametrize("case", CASES)


def make(case):
    spec, shape = CASES[case]
    return drawn(**spec), fields(*shape)


def test_that_every_registered_network_is_among_the_cases():
    assert {spec["name"] for spec, _ in CASES.values()} == set(NETWORKS)


@every_network
def test_that_a_sample_does_not_depend_on_the_batch(case):
    network, x = make(case)
    alone = torch.cat([network(x[i : i + 1], SIGMA[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(x, SIGMA), alone, rtol=1e-11, atol=1e-11)


@every_network
def test_that_the_noise_level_changes_the_output(case):
    network, x = make(case)
    change = (network(x, SIGMA) - network(x, SIGMA + 0.05)).abs().flatten(1).amax(dim=1)
    assert (change > 1e-4).all()


@every_network
def test_that_an_untrained_network_gives_zero_in_the_dtype_of_its_input(case):
    spec, shape = CASES[case]
    out = network_from_spec(spec)(fields(*shape).float(), SIGMA.float())
    assert torch.equal(out, torch.zeros(3, *shape))


@every_network
def test_that_a_gradient_reaches_every_parameter(case):
    network, x = make(case)
    network.requires_grad_(True)(x, SIGMA).square().sum().backward()
    missed = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert missed == []


@every_network
def test_that_a_network_is_rebuilt_from_its_spec_as_json(case):
    network, x = make(case)
    again = network_from_spec(json.loads(json.dumps(network.spec()))).double().requires_grad_(False)
    assert again.spec() == network.spec()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(x, SIGMA), network(x, SIGMA))


@every_network
def test_that_derivatives_along_a_direction_are_those_of_finite_differences(case):
    """Guidance takes them in forward mode, which fused kernels do not offer."""
    network, x = make(case)
    direction, h = fields(*x.shape[1:], seed=2), 1e-6
    _, derivative = torch.func.jvp(lambda x: network(x, SIGMA), (x,), (direction,))
    difference = (network(x + h * direction, SIGMA) - network(x - h * direction, SIGMA)) / (2 * h)
    torch.testing.assert_close(derivative, difference, rtol=1e-5, atol=1e-5 * derivative.abs().max().item())


@pytest.mark.parametrize("case", [case for case in CASES if case != "causal_window"])
@pytest.mark.parametrize("wrong", ["channels", "axes", "dtype"])
def test_that_samples_of_another_network_are_refused(case, wrong):
    network, x = make(case)
    x = {"channels": x[:, :-1], "axes": x[..., None].repeat(*[1] * x.ndim, 2), "dtype": x.float()}[wrong]
    with pytest.raises(ValueError, match="got (samples of torch.float32|\\(3, )"):
        network(x, SIGMA)


def test_that_an_unknown_network_is_answered_with_the_nearest():
    with pytest.raises(ScoredaError, match="unknown network 'unet1'; did you mean 'unet1d'"):
        network_from_spec(dict(name="unet1"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(block="films"), "unknown block 'films'; did you mean 'film'"),
        (dict(norm="groups"), "unknown norm 'groups'; did you mean 'group'"),
        (dict(attention="linea"), "unknown attention 'linea'; did you mean 'linear'"),
        (dict(embedding=dict(width=8, kind="furier")), "unknown embedding 'furier'; did you mean 'fourier'"),
        (dict(widths=[4, 0]), "`widths` must be at least 1, got \\[4, 0\\]"),
        (dict(widths=[]), "`widths` must be at least 1, got \\[\\]"),
        (dict(kernel=4), "kernel of a convolution must be odd, got 4"),
        (dict(attention="full", heads=3), "`heads` must divide the width, got 3 heads and width 8"),
        (dict(circular=[True, False]), "`circular` must be one bool or 1 of them"),
        (dict(embedding=1), "`embedding` must be at least 2 wide, got 1"),
    ],
)
def test_that_settings_without_a_network_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        network_from_spec(dict(name="unet1d") | UNET | settings)


@pytest.mark.parametrize(("name", "parameters"), [("lorenz96_unet", 921_184), ("swiss_roll_mlp", 4_418)])
def test_that_the_presets_have_as_many_parameters_as_their_originals(name, parameters):
    assert sum(weight.numel() for weight in network_from_spec(PRESETS[name]).parameters()) == parameters


def test_that_a_perceptron_does_not_see_the_shape_of_a_sample():
    network, x = drawn("mlp", channels=6, width=8), fields(6)
    torch.testing.assert_close(network(x.reshape(3, 1, 6), SIGMA).reshape(3, 6), network(x, SIGMA))


def test_that_a_perceptron_is_the_one_written_out():
    network, x = drawn("mlp", channels=2, width=3, layers=1, activation="tanh"), fields(2)
    enter, leave = network.layers[0], network.layers[-1]
    hidden = torch.tanh(torch.column_stack([x, SIGMA]) @ enter.weight.T + enter.bias)
    torch.testing.assert_close(network(x, SIGMA), hidden @ leave.weight.T + leave.bias)


@pytest.mark.parametrize("base", [1000.0, 10_000.0])
def test_that_sinusoidal_frequencies_fall_from_the_scale_to_the_scale_over_the_base(base):
    found = NoiseEmbedding(8, base=base, scale=2.0).frequencies.double()
    torch.testing.assert_close(found, 2.0 * base ** -(torch.arange(4.0).double() / 3), rtol=1e-6, atol=0)


def test_that_the_number_of_a_step_may_be_an_integer():
    embedding = NoiseEmbedding(8, scale=1.0, features=6, activation="gelu")
    steps = torch.tensor([1, 500, 1000])
    assert torch.equal(embedding(steps), embedding(steps.float()))
    assert embedding(steps).shape == (3, 8)


def test_that_random_frequencies_have_the_scale_and_travel_with_the_weights():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        one, other = (NoiseEmbedding(4, kind="fourier", scale=7.0, features=4000) for _ in range(2))
    assert one.frequencies.std().item() == pytest.approx(7.0, rel=5 / 2000**0.5)
    assert not torch.equal(one.frequencies, other.frequencies)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.frequencies, other.frequencies)
