"""The array core against hand-written tables, double loops, closed forms and an independent package."""

import math

import numpy as np
import pytest
import xarray as xr
from scores.continuous import additive_bias
from scores.continuous import rmse as scores_rmse
from scores.probability import crps_for_ensemble

from scoreda.verification import arrays


def skewed_fields(members, seed=3, leading=(4, 3), size=5):
    """Ensembles and truths with an index-dependent offset, so that a swapped axis or sign cannot hide."""
    rng = np.random.default_rng(seed)
    E = rng.gamma(2.0, size=(*leading, members, size)) + np.arange(size)
    return E, rng.gamma(2.0, size=(*leading, size)) + 0.8 * np.arange(size)


def test_that_a_table_written_by_hand_is_reproduced():
    E, x = np.array([[0.0, 5.0], [2.0, 7.0], [4.0, 6.0]]), np.array([1.0, 9.0])
    # means 2, 6; errors 1, -3; variances 4, 1; CRPS 5/3 - 8/6 = 1/3 and 3 - 4/6 = 7/3
    assert arrays.rmse(E, x) == pytest.approx(math.sqrt(5))
    assert arrays.bias(E, x) == pytest.approx(-1)
    assert arrays.spread(E) == pytest.approx(math.sqrt(2.5))
    assert arrays.crps(E, x) == pytest.approx(4 / 3)
    assert arrays.ranks(E, x).tolist() == [1, 3]
    assert arrays.rank_histogram(arrays.ranks(E, x), 3).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("rank", "share"),
    # N = 3, level 0.8: the central interval is [.1, .9], the cells are quarters, so the outer two count 60 %
    [(0, 0.6), (1, 1.0), (2, 1.0), (3, 0.6)],
)
def test_that_edge_ranks_count_with_the_share_of_their_cell(rank, share):
    E, x = np.array([[0.0], [1.0], [2.0]]), np.array([rank - 0.5])
    assert arrays.coverage(E, x, 0.8) == pytest.approx(share)


def test_that_coverage_of_ties_is_the_mean_over_random_tie_breaking():
    E, x = np.array([[1.0], [1.0], [2.0]]), np.array([1.0])  # ranks 0, 1, 2 are equally likely: (.6 + 1 + 1) / 3
    assert arrays.coverage(E, x, 0.8) == pytest.approx(2.6 / 3)
    draws = arrays.ranks(np.tile(E, (6000, 1, 1)), np.tile(x, (6000, 1)), np.random.default_rng(0))
    counts = arrays.rank_histogram(draws, 3)
    assert counts[3] == 0 and arrays.rank_p_value(counts[:3]) > 1e-3


@pytest.mark.parametrize("members", [2, 3, 20])
def test_that_every_score_equals_a_double_loop(members):
    E, x = skewed_fields(members)
    for index in np.ndindex(4, 3):
        e, t = E[index], x[index]
        crps, var, sq = [], [], []
        for j in range(5):
            pairs = sum(abs(a - b) for a in e[:, j] for b in e[:, j])
            crps.append(sum(abs(a - t[j]) for a in e[:, j]) / members - pairs / (2 * members * (members - 1)))
            mean = sum(e[:, j]) / members
            var.append(sum((a - mean) ** 2 for a in e[:, j]) / (members - 1))
            sq.append((mean - t[j]) ** 2)
            assert arrays.ranks(E, x)[index][j] == sum(a < t[j] for a in e[:, j])
        assert arrays.crps(E, x)[index] == pytest.approx(np.mean(crps), rel=1e-12)
        assert arrays.spread(E)[index] == pytest.approx(math.sqrt(np.mean(var)), rel=1e-12)
        assert arrays.rmse(E, x)[index] == pytest.approx(math.sqrt(np.mean(sq)), rel=1e-12)


def test_that_scores_equal_those_of_an_independent_package():
    E, x = skewed_fields(members=7, leading=(6,))
    fcst, truth = xr.DataArray(E, dims=("time", "member", "space")), xr.DataArray(x, dims=("time", "space"))
    mean = fcst.mean("member")
    fair = crps_for_ensemble(fcst, truth, "member", method="fair", preserve_dims="time")
    np.testing.assert_allclose(arrays.crps(E, x), fair.values, rtol=1e-12)
    np.testing.assert_allclose(arrays.rmse(E, x), scores_rmse(mean, truth, preserve_dims="time").values, rtol=1e-12)
    np.testing.assert_allclose(arrays.bias(E, x), additive_bias(mean, truth, preserve_dims="time").values, rtol=1e-12)


def test_that_crps_of_many_members_approaches_the_gaussian_closed_form():
    mean, std, x = 1.5, 2.0, np.array([-1.0, 1.5, 4.0])
    w = (x - mean) / std
    density = np.exp(-0.5 * w**2) / math.sqrt(2 * math.pi)
    cumulative = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in w])
    closed = (std * (w * (2 * cumulative - 1) + 2 * density - 1 / math.sqrt(math.pi))).mean()
    E = np.random.default_rng(5).normal(mean, std, size=(200_000, 3))
    assert arrays.crps(E, x) == pytest.approx(closed, rel=3e-3)


def test_that_fair_crps_does_not_depend_on_the_number_of_members_in_expectation():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(40_000, 1))
    values = {N: arrays.crps(rng.normal(size=(40_000, N, 1)), x) for N in (2, 10)}
    expected = 1 / math.sqrt(math.pi)  # E|X - x| - E|X - X'| / 2 with both differences N(0, 2)
    for sample in values.values():
        assert abs(sample.mean() - expected) < 4 * sample.std() / math.sqrt(len(sample))


@pytest.mark.parametrize("members", [7, 20, 40])
def test_that_a_calibrated_ensemble_covers_90_percent_for_any_number_of_members(members):
    rng, points = np.random.default_rng(members), 20_000
    fields = rng.normal(size=(points, members + 1, 1)) * 3 + 1
    covered = arrays.coverage(fields[:, 1:], fields[:, 0], 0.9).mean()
    assert abs(covered - 0.9) < 4 * math.sqrt(0.9 * 0.1 / points)


def test_that_the_ranks_of_a_calibrated_ensemble_are_flat_and_of_a_narrow_one_are_not():
    rng = np.random.default_rng(2)
    x, E = rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, 20, 1))
    p = {scale: arrays.rank_p_value(arrays.rank_histogram(arrays.ranks(scale * E, x), 20)) for scale in (1.0, 0.9)}
    assert p[1.0] > 0.01 and p[0.9] < 1e-6


def test_that_the_flatness_statistic_is_that_of_pearson():
    # counts 2, 4, 6 against 4: (4 + 0 + 4) / 4 = 2; two degrees of freedom: p = exp(-1)
    assert arrays.rank_chi2([2, 4, 6]) == pytest.approx(2)
    assert arrays.rank_p_value([2, 4, 6]) == pytest.approx(math.exp(-1))
    assert math.isnan(arrays.rank_chi2([0, 0, 0]))


@pytest.mark.parametrize("where", ["ensemble", "truth"])
def test_that_nan_in_is_nan_out_and_stays_in_its_field(where):
    E, x = skewed_fields(members=6, leading=(3,))
    (E if where == "ensemble" else x)[1, ..., 2] = np.nan
    for score in (arrays.rmse(E, x), arrays.crps(E, x), arrays.coverage(E, x, 0.9), arrays.bias(E, x)):
        assert np.isnan(score).tolist() == [False, True, False]
    ranks = arrays.ranks(E, x, np.random.default_rng(0))
    assert np.isnan(ranks).sum() == 1 and np.isnan(ranks[1, 2])
    assert arrays.rank_histogram(ranks, 6).sum() == 14


def test_that_one_member_has_an_error_but_neither_spread_nor_fair_score():
    E, x = np.ones((4, 1, 3)), np.zeros((4, 3))
    assert arrays.rmse(E, x).tolist() == [1] * 4
    assert np.isnan(arrays.spread(E)).all() and np.isnan(arrays.crps(E, x)).all()


@pytest.mark.parametrize("size", [8, 9])
def test_that_the_spectrum_sums_to_the_variance_and_finds_a_wave(size):
    grid, phases = np.arange(size), np.random.default_rng(4).uniform(0, 2 * np.pi, (50, 1))
    noise = np.random.default_rng(5).normal(1.0, 2.0, (50, size))
    assert arrays.energy_spectrum(noise).sum() == pytest.approx(noise.var(), rel=1e-12)
    wave = 7 + 3 * np.cos(2 * np.pi * 2 * grid / size + phases)
    np.testing.assert_allclose(arrays.energy_spectrum(wave), [0, 0, 4.5, 0, 0], atol=1e-12)


def test_that_wrong_shapes_and_levels_are_refused_with_the_fix():
    with pytest.raises(ValueError, match=r"got \(3, 4\) and \(5,\).*Rows"):
        arrays.rmse(np.ones((3, 4)), np.ones(5))
    with pytest.raises(ValueError, match=r"between 0 and 1, got 90.*Pass 0\.9"):
        arrays.coverage(np.ones((3, 4)), np.ones(4), 90)
