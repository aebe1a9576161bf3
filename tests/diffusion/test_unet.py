"""U-Nets: shifts by the total stride commute, odd sizes fit, edges stay edges; attention knows no positions."""

import pytest
import torch
from drawn_networks import SIGMA, changed_points, drawn, fields

from scoreda.diffusion.networks import Attention
from scoreda.diffusion.networks.attention import full, linear
from scoreda.diffusion.networks.levels import doubled

VARIANTS = [
    dict(),
    dict(block="film"),
    dict(norm="group"),
    dict(attention="full", heads=2),
    dict(attention="linear", heads=2, attention_levels=2),
]


def make_network(dimensions=1, **settings):
    return drawn(f"unet{dimensions}d", **dict(widths=[4, 6, 8], blocks=1, embedding=8) | settings)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


@pytest.mark.parametrize("settings", VARIANTS)
def test_that_shifts_by_the_total_stride_commute_on_a_ring_and_others_do_not(settings):
    network, x = make_network(channels=2, **settings), fields(2, 40)
    out = network(x, SIGMA)
    for shift in (4, 12):
        close(network(x.roll(shift, dims=-1), SIGMA), out.roll(shift, dims=-1))
    assert not torch.allclose(network(x.roll(2, dims=-1), SIGMA), out.roll(2, dims=-1), rtol=1e-3)


@pytest.mark.parametrize("settings", VARIANTS)
def test_that_a_repeated_ring_gives_the_repeated_output(settings):
    network, x = make_network(**settings), fields(1, 40)
    close(network(x.repeat(1, 1, 3), SIGMA), network(x, SIGMA).repeat(1, 1, 3))


def test_that_forty_thousand_variables_are_a_thousand_times_forty():
    network, x = make_network(), fields(1, 40)
    close(network(x.repeat(1, 1, 1000), SIGMA), network(x, SIGMA).repeat(1, 1, 1000))


def test_that_shifts_by_the_total_stride_commute_on_a_torus():
    network, x = make_network(2, widths=[4, 6]), fields(1, 8, 10)
    rolled = network(x.roll((2, 4), dims=(-2, -1)), SIGMA)
    close(rolled, network(x, SIGMA).roll((2, 4), dims=(-2, -1)))


def test_that_a_plane_constant_along_one_axis_is_a_line():
    plane, line = make_network(2, circular=(False, True)), make_network(1)
    line.load_state_dict({name: w.sum(-2) if w.ndim == 4 else w for name, w in plane.state_dict().items()})
    x = fields(1, 20)
    out = plane(x[:, :, None].expand(-1, -1, 9, -1), SIGMA)
    close(out, line(x, SIGMA)[:, :, None].expand_as(out))


@pytest.mark.parametrize("circular", [True, False])
@pytest.mark.parametrize("size", [5, 6, 7, 41, 101])
def test_that_odd_sizes_come_back_whole(size, circular):
    x = fields(1, size)
    out = make_network(circular=circular)(x, SIGMA)
    assert out.shape == x.shape and out.isfinite().all()


def test_that_odd_planes_come_back_whole():
    x = fields(1, 9, 14)
    assert make_network(2, circular=(False, True))(x, SIGMA).shape == x.shape


@pytest.mark.parametrize("settings", VARIANTS)
def test_that_a_line_repeats_its_edge_values(settings):
    network, constant = make_network(circular=False, **settings), torch.full((3, 1, 23), 0.7, dtype=torch.float64)
    out = network(constant, SIGMA)
    close(out, out[..., :1].expand_as(out))


def test_that_only_a_ring_wraps_around():
    last = (127,)
    assert last not in changed_points(make_network(circular=False), (1, 128), (0,))
    assert last in changed_points(make_network(circular=True), (1, 128), (0,))


def test_that_without_attention_and_group_norm_it_is_local_and_coarser_levels_reach_further():
    reach = [
        max(i for (i,) in changed_points(make_network(widths=widths, circular=False), (1, 256), (0,)))
        for widths in ([4], [4, 4], [4, 4, 4])
    ]
    assert reach[0] < reach[1] < reach[2] < 200


def test_that_the_last_point_of_an_odd_axis_stays_single():
    x = torch.arange(20_001.0)[None, None]
    assert torch.equal(doubled(x, [40_001])[0, 0], torch.arange(40_001) // 2)


def test_that_a_domain_too_small_for_its_levels_is_refused():
    with pytest.raises(ValueError, match="shorter than half a kernel, 2. Use a smaller kernel, fewer levels"):
        make_network()(fields(1, 2), SIGMA)


def make_attention(kind):
    attention = Attention(8, 2, kind).double()
    for seed, weight in enumerate(attention.parameters()):
        weight.data.copy_(fields(*weight.shape, seed=seed)[0])
    return attention.requires_grad_(False)


@pytest.mark.parametrize("kind", ["full", "linear"])
def test_that_permuted_points_give_permuted_outputs(kind):
    attention, x = make_attention(kind), fields(8, 13)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(3))
    close(attention(x[..., order]), attention(x)[..., order])
    assert not torch.allclose(attention(x)[..., :6], attention(x[..., :6]), rtol=1e-3)


@pytest.mark.parametrize("kind", ["full", "linear"])
def test_that_attention_sees_a_plane_as_its_points(kind):
    attention, x = make_attention(kind), fields(8, 3, 5)
    close(attention(x).flatten(2), attention(x.flatten(2)))


@pytest.mark.parametrize("attend", [full, linear])
def test_that_attention_is_an_average(attend):
    q, k, ones = fields(2, 7, 4), fields(2, 7, 4, seed=2), torch.ones(3, 2, 7, 4, dtype=torch.float64)
    close(attend(q, k, ones), ones)


def test_that_full_attention_is_that_of_torch():
    q, k, v = (fields(2, 7, 4, seed=seed) for seed in range(3))
    close(full(q, k, v), torch.nn.functional.scaled_dot_product_attention(q, k, v))
