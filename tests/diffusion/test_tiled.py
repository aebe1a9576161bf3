"""Tiles with halos: the answer of the whole field, within a budget of memory, and derivatives as well."""

import pytest
import torch
from drawn_networks import SIGMA, changed_points, drawn, fields, generator
from torch.func import jvp, vjp

from scoreda.diffusion import KarrasDenoiser, load_prior
from scoreda.diffusion.guidance import DPS, MomentMatching
from scoreda.diffusion.networks import MLP, CausalWindow, Tiled, UNet1d, network_from_spec
from scoreda.diffusion.samplers import HeunSampler
from scoreda.diffusion.schedules import EDM

CONV = dict(width=4, blocks=2, kernel=3, embedding=8)
UNET = dict(widths=(4, 6, 4), blocks=1, kernel=3, resampling=3, embedding=8)
POINT = 8 * 8  # bytes of a float64 at a grid point in the layers at work, for a width of one


def watched(network, memory):
    """Return the network in tiles, and the list of the shapes that it is given."""
    shapes = []
    network.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
    return Tiled(network, memory), shapes


@pytest.mark.parametrize("circular", [True, False])
@pytest.mark.parametrize(
    ("name", "settings", "size", "points"),
    [
        ("convnet1d", CONV, 40, 30),
        ("convnet1d", CONV, 101, 25),
        ("convnet1d", CONV, 101, 64),
        ("unet1d", UNET, 200, 150),
        ("unet1d", UNET, 212, 141),
    ],
)
def test_that_the_tiles_of_a_line_or_ring_are_the_whole(name, settings, size, points, circular):
    network, x = drawn(name, circular=circular, **settings), fields(1, size)
    whole = network(x, SIGMA)
    tiled, shapes = watched(network, points * POINT * network.locality().width)
    torch.testing.assert_close(tiled(x, SIGMA), whole, rtol=1e-12, atol=1e-12)
    assert len(shapes) > 3
    assert max(rows * length for rows, _, length in shapes) <= points


@pytest.mark.parametrize("circular", [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize(
    ("name", "settings", "points"), [("convnet2d", CONV, 400), ("unet2d", UNET | dict(widths=(4, 6)), 2800)]
)
def test_that_the_tiles_of_a_plane_are_the_whole(name, settings, points, circular):
    size = (23, 41) if name == "convnet2d" else (60, 72)
    network, x = drawn(name, circular=circular, **settings), fields(1, *size)
    whole = network(x, SIGMA)
    tiled, shapes = watched(network, points * POINT * network.locality().width)
    torch.testing.assert_close(tiled(x, SIGMA), whole, rtol=1e-12, atol=1e-12)
    assert len(shapes) > 3
    assert max(rows * h * w for rows, _, h, w in shapes) <= points


def test_that_a_line_of_odd_size_is_cut_for_a_network_of_several_levels():
    network, x = drawn("unet1d", circular=False, **UNET), fields(1, 203)
    tiled, shapes = watched(network, 150 * POINT * network.locality().width)
    out = tiled(x, SIGMA)
    assert len(shapes) > 3
    torch.testing.assert_close(out, network(x, SIGMA), rtol=1e-12, atol=1e-12)


def test_that_the_shipped_prior_in_tiles_is_itself_in_single_precision():
    network = load_prior("lorenz96").denoiser.network
    x, c = torch.randn(2, 1, 4001, generator=generator(3)), torch.tensor([-1.0, 0.5])
    tiled, shapes = watched(network, 500 * 4 * 8 * 64)
    torch.testing.assert_close(tiled(x, c), network(x, c), rtol=1e-6, atol=1e-6)
    assert max(shape[-1] for shape in shapes[:-1]) <= 500


@pytest.mark.parametrize(
    ("name", "settings"), [("convnet1d", CONV), ("convnet1d", CONV | dict(kernel=5)), ("unet1d", UNET)]
)
def test_that_the_reach_covers_all_points_that_an_output_depends_on_and_few_more(name, settings):
    network = drawn(name, circular=False, **settings)
    reach, middle = network.locality().reach, 120
    found = {i for start in range(middle, middle + 4) for i in map(lambda p, s=start: abs(p[0] - s),
             changed_points(network, (1, 241), (start,)))}  # fmt: skip
    assert max(found) <= reach <= max(found) + network.locality().grid * (network.locality().grid > 1)


def test_that_pieces_are_no_larger_than_the_cache_of_a_processor_where_that_takes_few_halos(monkeypatch):
    network = drawn("convnet1d", **CONV)
    point, halo = POINT * network.locality().width, network.locality().halo
    monkeypatch.setattr("scoreda.diffusion.networks.tiled.IN_CACHE", 100 * halo * point)
    tiled, shapes = watched(network, 400 * halo * point)
    x = fields(1, 1000 * halo)
    torch.testing.assert_close(tiled(x, SIGMA), network(x, SIGMA), rtol=1e-12, atol=1e-12)
    assert max(length for _, _, length in shapes[:-1]) == 100 * halo
    shape = (1, 1000 * halo)
    assert tiled.tiling(shape, 8).bytes <= 100 * halo * point < tiled.tiling(shape, 8, cached=False).bytes
    assert tiled.tiling(shape, 8, differentiated=True).bytes > 100 * halo * point
    for nearby in (3, 1):  # halos as large as the piece, and none that fits
        monkeypatch.setattr("scoreda.diffusion.networks.tiled.IN_CACHE", nearby * halo * point)
        assert tiled.tiling(shape, 8).edges == tiled.tiling(shape, 8, cached=False).edges


def test_that_members_go_through_in_groups_when_the_field_fits():
    network, x = drawn("convnet1d", **CONV), fields(1, 40)
    tiled, shapes = watched(network, 100 * POINT * 4)
    tiled(x, SIGMA)
    assert shapes == [(2, 1, 40), (1, 1, 40)]


def test_that_conditions_are_cut_with_the_field():
    network, x = drawn("convnet1d", conditioning=2, **CONV), fields(1, 90)
    condition, given = fields(2, 90, seed=5), torch.tensor([True, False, True])
    tiled = Tiled(network, 40 * POINT * 4)
    for told in (dict(condition=condition, given=given), dict(condition=condition[:1]), {}):
        torch.testing.assert_close(tiled(x, SIGMA, **told), network(x, SIGMA, **told), rtol=1e-12, atol=1e-12)


def test_that_windows_of_any_number_of_times_are_cut():
    network, x = CausalWindow(drawn("convnet1d", channels=3, **CONV)), fields(5, 90)
    tiled, shapes = watched(network, 40 * POINT * 4 * 5)
    torch.testing.assert_close(tiled(x, SIGMA), network(x, SIGMA), rtol=1e-12, atol=1e-12)
    assert max(shape[-1] for shape in shapes[:-1]) <= 40


def test_that_derivatives_both_ways_are_those_of_the_whole():
    network, x, v = drawn("convnet1d", **CONV), fields(1, 90), fields(1, 90, seed=7)
    tiled = Tiled(network, 12 * 40 * POINT * 4)
    forward = [jvp(lambda x, f=f: f(x, SIGMA), (x,), (v,))[1] for f in (tiled, network)]
    backward = [vjp(lambda x, f=f: f(x, SIGMA), x)[1](v)[0] for f in (tiled, network)]
    torch.testing.assert_close(*forward, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*backward, rtol=1e-12, atol=1e-12)


def test_that_pieces_that_are_differentiated_are_a_twelfth_of_the_others():
    tiled, shapes = watched(drawn("convnet1d", **CONV), 12 * 40 * POINT * 4)
    vjp(lambda x: tiled(x, SIGMA), fields(1, 90))[1](fields(1, 90))
    assert {shape[0] for shape in shapes} == {1}
    assert max(shape[-1] for shape in shapes) <= 40
    shapes.clear()
    tiled(fields(1, 90), SIGMA)
    assert shapes == [(3, 1, 90)]


def test_that_the_weights_of_a_tiled_network_get_their_gradient():
    network, x = drawn("convnet1d", **CONV).requires_grad_(True), fields(1, 90)
    gradients = []
    for f in (Tiled(network, 40 * POINT * 4), network):
        gradients.append(torch.autograd.grad(f(x, SIGMA).square().sum(), list(network.parameters())))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("guidance", [DPS, MomentMatching])
def test_that_a_guided_sampler_draws_the_same_states_tiled_and_whole(guidance):
    network, start = drawn("convnet1d", **CONV), 80 * fields(1, 90, seed=9)
    y = torch.linspace(-1, 1, 45, dtype=torch.float64)
    drawn_states = []
    for f in (Tiled(network, 12 * 40 * POINT * 4), network):
        guided = guidance(KarrasDenoiser(f, EDM()), y, lambda x: x[:, 0, ::2], 0.5)
        drawn_states.append(HeunSampler(guided, 4)(start))
    torch.testing.assert_close(*drawn_states, rtol=1e-9, atol=1e-9)


def test_that_a_prior_within_a_budget_draws_the_same_states():
    prior = load_prior("lorenz96")
    prior.denoiser.double()
    within = prior.within(400 * POINT * 64)
    assert within.sample(3, 600, seed=1, steps=3) == pytest.approx(prior.sample(3, 600, seed=1, steps=3), abs=1e-9)


def test_that_a_tiled_network_is_rebuilt_from_its_spec():
    tiled = Tiled(drawn("convnet1d", **CONV), 10**6)
    assert network_from_spec(tiled.spec()).spec() == tiled.spec()


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (UNet1d(widths=(4, 8), norm="group"), "'group'"),
        (UNet1d(widths=(4, 8), attention="linear"), "'linear'"),
        (MLP(channels=4), "all numbers"),
    ],
)
def test_that_networks_that_read_all_of_the_field_are_refused(network, why):
    with pytest.raises(ValueError, match=why):
        Tiled(network, 10**9)


def test_that_a_budget_below_one_tile_is_refused_with_what_it_takes():
    with pytest.raises(ValueError, match="it takes 0.00333 MB"):
        Tiled(drawn("convnet1d", **CONV), 1000)(fields(1, 90), SIGMA)


def test_that_a_ring_that_the_levels_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        Tiled(drawn("unet1d", **UNET), 150 * POINT * 14)(fields(1, 203), SIGMA)
