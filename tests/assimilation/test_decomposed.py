"""An analysis in blocks of the grid: the same answer as on one machine."""

import os

import dask.array as da
import numpy as np
import pytest

from scoreda.assimilation import (
    ETKF,
    LETKF,
    RTPS,
    CoupledScoreFilter,
    Decomposed,
    Inflated,
    State,
    analyse_blocks,
    assimilate,
    initial_ensemble,
)
from scoreda.datasets import climatology, simulate
from scoreda.diffusion import load_prior
from scoreda.models import Lorenz96
from scoreda.observations import Elementwise, GaussianError, Linear, Network, Observation, Sites

SIZE, MEMBERS, RADIUS = 240, 8, 5.0
MODEL = Lorenz96(size=SIZE)


def make_state(seed=1):
    rng = np.random.default_rng(seed)
    E = 3.0 + np.cumsum(rng.normal(size=(MEMBERS, SIZE)), axis=1) % 4.0
    return State(0.0, E)


def make_obs(sites, seed=2, function=None, missing=()):
    rng = np.random.default_rng(seed)
    operator = Sites(SIZE, sites)
    values = rng.normal(3.0, 2.0, size=len(sites))
    values[list(missing)] = np.nan
    error = GaussianError(0.5 + rng.random(len(sites)), len(sites))
    return Observation(0.0, values, Elementwise(operator, function) if function else operator, error)


def both(method, obs, **settings):
    """Return the analyses and the generators after them: of the whole, and in blocks."""
    rngs = [np.random.default_rng(3) for _ in range(2)]
    methods = method, Decomposed(method, **settings)
    steps = [m.step(make_state(), obs, rng) for m, rng in zip(methods, rngs, strict=True)]
    return [(state.ensemble, info, rng.random()) for (state, info), rng in zip(steps, rngs, strict=True)]


CASES = {
    "every second variable": make_obs(range(0, SIZE, 2)),
    "sites in no order": make_obs(np.random.default_rng(4).permutation(SIZE)[:60]),
    "sites seen twice": make_obs([5, 5, 100, 101]),
    "a corner alone": make_obs([0, 1, SIZE - 1]),
    "a function of the state": make_obs(range(1, SIZE, 3), function="arctan"),
    "gaps": make_obs(range(0, SIZE, 2), missing=(3, 4, 60)),
}


@pytest.mark.parametrize("blocks", [1, 2, 5, 24])
@pytest.mark.parametrize("case", CASES)
def test_that_the_letkf_in_blocks_is_the_letkf(case, blocks):
    method = LETKF(MODEL, RADIUS, inflation=1.05, rotate=True)
    whole, cut = both(method, CASES[case], blocks=blocks)
    np.testing.assert_allclose(cut[0], whole[0], rtol=0, atol=1e-12)
    assert cut[1].diagnostics == whole[1].diagnostics
    assert cut[2] == whole[2]


@pytest.mark.parametrize("settings", [dict(blocks=2), dict(blocks=7), dict(blocks=7, periodic=False)])
def test_that_a_line_is_cut_without_joining_its_ends(settings):
    method, obs = LETKF(MODEL, RADIUS, inflation=1.05, periodic=False), CASES["every second variable"]
    whole, cut = both(method, obs, **settings)
    np.testing.assert_allclose(cut[0], whole[0], rtol=0, atol=1e-12)
    E = da.from_array(make_state().ensemble, chunks=(MEMBERS, 60))
    np.testing.assert_allclose(
        analyse_blocks(method, E, obs, np.random.default_rng(3)).compute(), whole[0], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("make", [LETKF, CoupledScoreFilter])
def test_that_a_ring_is_not_cut_as_a_line_nor_a_line_as_a_ring(make):
    for own, other in ((True, False), (False, True)):
        method = make(MODEL, RADIUS, periodic=own)
        assert Decomposed(method, 4).periodic is own
        with pytest.raises(ValueError, match=f"`periodic` is {other}, but .* made with periodic={own}. Leave it out"):
            Decomposed(method, 4, periodic=other)


def test_that_a_halo_too_narrow_gives_another_answer():
    whole, cut = both(LETKF(MODEL, RADIUS), CASES["every second variable"], blocks=5, halo=3)
    assert np.abs(cut[0] - whole[0]).max() > 1e-3


def test_that_a_block_without_observations_is_left_alone_however_wide_the_radius():
    seen = make_obs([5])
    obs = Observation(0.0, seen.values + 30, seen.operator, seen.error)
    _, cut = both(LETKF(MODEL, 50.0), obs, blocks=24, halo=3)
    np.testing.assert_allclose(cut[0][:, 13:237], make_state().ensemble[:, 13:237], rtol=0, atol=1e-12)
    assert np.abs(cut[0] - make_state().ensemble)[:, 5].min() > 0.1


def test_that_a_run_in_blocks_is_the_run():
    network = Network(Sites(SIZE, range(0, SIZE, 2)), GaussianError(1.0, SIZE // 2), interval=0.05)
    twin = simulate(MODEL, network, cycles=10, seed=5, spinup=2.0)
    E = initial_ensemble(twin, MEMBERS, rng=np.random.default_rng(6))
    method = LETKF(MODEL, RADIUS, inflation=1.05, rotate=True)
    runs = [
        assimilate(twin, Inflated(m, RTPS(0.2)), E, np.random.default_rng(7))["analysis"].values
        for m in (method, Decomposed(method, blocks=4))
    ]
    np.testing.assert_allclose(*runs, rtol=0, atol=1e-5)


def test_that_an_analysis_of_a_dask_array_is_lazy_and_the_same():
    method, obs, E = LETKF(MODEL, RADIUS, rotate=True), CASES["gaps"], make_state().ensemble
    whole = method.step(State(0.0, E), obs, np.random.default_rng(3))[0].ensemble
    lazy = analyse_blocks(method, da.from_array(E, chunks=(4, 60)), obs, np.random.default_rng(3))
    assert lazy.chunks == ((MEMBERS,), (60, 60, 60, 60))
    np.testing.assert_allclose(lazy.compute(scheduler="threads", num_workers=2), whole, rtol=0, atol=1e-12)


# The coupled score filter: its Gaussian part is truncated, everything else is that of the whole grid


def score_errors(method, obs, halos, state=None, blocks=2):
    """Return the largest differences of the blocks from the whole, in units of the largest increment."""
    state = state or make_state()
    analyse = lambda method: method.step(state, obs, np.random.default_rng(3))[0].ensemble
    whole = analyse(method)
    differences = [np.abs(analyse(Decomposed(method, blocks, halo)) - whole).max() for halo in halos]
    return np.array(differences) / np.abs(whole - state.ensemble).max()


def lopsided_state():
    """Return members that agree on one half of the grid and not on the other, so that no block is like the whole."""
    E = make_state().ensemble
    return State(0.0, E.mean(0) + (E - E.mean(0)) * np.where(np.arange(SIZE) < SIZE // 2, 0.2, 1.5))


@pytest.fixture(scope="module")
def learned():
    """The learned part, in double precision, and the climatology it is compared with."""
    prior = load_prior("lorenz96")
    prior.denoiser.double()
    climate = climatology(MODEL, np.random.default_rng(8), samples=400)
    return dict(prior=prior, climatology=climate, steps=2)


@pytest.mark.parametrize("case", ["every second variable", "a function of the state", "gaps"])
def test_that_the_score_filter_in_blocks_nears_the_whole_as_the_halo_widens(case):
    errors = score_errors(CoupledScoreFilter(MODEL, RADIUS, inflation=1.02), CASES[case], halos=(5, 20, 40, 60))
    assert errors[0] > 1e-3
    assert (errors[1:] < errors[:-1] / 100).all()
    assert errors[-1] < 1e-11


@pytest.mark.parametrize("state", [make_state(), lopsided_state()], ids=["even", "lopsided"])
def test_that_the_learned_part_in_blocks_nears_the_whole_as_the_halo_widens(learned, state):
    method = CoupledScoreFilter(MODEL, RADIUS, inflation=1.02, **learned, climate_radius=RADIUS)
    errors = score_errors(method, CASES["every second variable"], halos=(20, 40, 60), state=state)
    assert errors[0] > 1e-5
    assert (errors[1:] < errors[:-1] / 100).all()
    assert errors[-1] < 1e-8


def test_that_the_halo_covers_the_tapers_and_what_the_network_sees(learned):
    method = CoupledScoreFilter(MODEL, RADIUS, **learned | dict(prior=load_prior("lorenz96")), climate_radius=RADIUS)
    gaussian = CoupledScoreFilter(MODEL, RADIUS)
    assert (gaussian.support, method.support) == (40, 40 + 24)
    assert score_errors(gaussian, CASES["every second variable"], halos=(gaussian.support,)) < 1e-7
    assert score_errors(method, CASES["every second variable"], halos=(method.support,), blocks=3) < 1e-7


def test_that_no_halo_covers_the_noise_of_a_sampled_climatology(learned):
    method = CoupledScoreFilter(MODEL, RADIUS, **learned)
    assert (score_errors(method, CASES["every second variable"], halos=(20, 40)) > 1e-3).all()


def test_that_a_wide_climate_radius_leaves_the_climatology_as_it_is(learned):
    obs, rng = CASES["every second variable"], np.random.default_rng(3)
    methods = [CoupledScoreFilter(MODEL, RADIUS, **learned, climate_radius=radius) for radius in (None, 1e7, 20.0)]
    none, wide, narrow = (method.step(make_state(), obs, rng)[0].ensemble for method in methods)
    np.testing.assert_allclose(wide, none, rtol=0, atol=1e-8)
    assert np.abs(narrow - none).max() > 1e-3
    with pytest.raises(ValueError, match="`climate_radius` must be positive, got 0"):
        CoupledScoreFilter(MODEL, RADIUS, climate_radius=0)


def test_that_a_score_analysis_of_a_dask_array_is_lazy_and_knows_the_whole_forecast(learned):
    method = CoupledScoreFilter(MODEL, RADIUS, **learned, climate_radius=RADIUS)
    state, obs, rng = lopsided_state(), CASES["gaps"], np.random.default_rng(3)
    computed = []
    forecast = da.from_array(state.ensemble, chunks=(MEMBERS, 120)).map_blocks(
        lambda E: computed.append(E.shape) or E, dtype=np.float64, meta=np.empty((0, 0))
    )
    lazy = analyse_blocks(method, forecast, obs, rng, halo=40)
    assert computed == []
    blocks = Decomposed(method, blocks=2, halo=40).step(state, obs, rng)[0].ensemble
    np.testing.assert_allclose(lazy.compute(), blocks, rtol=0, atol=1e-10)
    assert computed == [(MEMBERS, 120)] * 2  # once each: the variance of the whole is of the same pieces


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (dict(blocks=48), "Use fewer"),
        (dict(blocks=241), "1 to 240"),
        (dict(blocks=0), "`blocks` must be a whole number from 1 on, got 0"),
        (dict(blocks=2.5), "`blocks` must be a whole number from 1 on, got 2.5"),
        (dict(blocks=4, halo=-1), "`halo` must be a whole number from 0 on, got -1"),
        (dict(blocks=4, halo=2.5), "`halo` must be a whole number from 0 on, got 2.5"),
    ],
)
def test_that_blocks_too_small_and_numbers_that_count_nothing_are_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        Decomposed(LETKF(MODEL, RADIUS), **settings)


def test_that_methods_and_operators_that_cannot_be_cut_are_refused():
    with pytest.raises(ValueError, match="Use LETKF"):
        Decomposed(ETKF(MODEL), blocks=2)
    linear = Linear(np.eye(2, SIZE), locations=[0.0, 1.0])
    obs = Observation(0.0, np.ones(2), linear, GaussianError(1.0, 2))
    with pytest.raises(ValueError, match="linear"):
        Decomposed(LETKF(MODEL, RADIUS), blocks=2).step(make_state(), obs, np.random.default_rng(1))
    distance = lambda a, b: np.abs(a[:, None] - b)
    with pytest.raises(ValueError, match="distance"):
        both(LETKF(MODEL, RADIUS, distance=distance), CASES["gaps"], blocks=2)


@pytest.mark.slow
def test_that_processes_of_a_cluster_give_the_same_answer(learned):
    from distributed import Client, LocalCluster

    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    letkf = LETKF(MODEL, RADIUS, inflation=1.05, rotate=True)
    score = Decomposed(CoupledScoreFilter(MODEL, RADIUS, **learned, climate_radius=RADIUS), blocks=3)
    obs, analyse = (
        CASES["every second variable"],
        lambda method: method.step(make_state(), obs, np.random.default_rng(3)),
    )
    threads = analyse(score)[0].ensemble
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
        whole, cut = both(letkf, obs, blocks=4)
        processes = analyse(score)[0].ensemble
    np.testing.assert_allclose(cut[0], whole[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(processes, threads, rtol=0, atol=1e-12)
