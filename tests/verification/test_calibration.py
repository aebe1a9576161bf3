"""Ranks as probabilities, shapes of histograms and spread-skill bins: exact tables and a calibrated ensemble."""

import math

import numpy as np
import pytest
from scipy.stats import kstest

from scoreda.verification import arrays
from scoreda.verification.calibration import SpreadSkill, pit, pit_distance, rank_contrasts, rank_flatness, spread_skill


def calibrated(points=20_000, members=8, seed=3, spread=1.0):
    """Truth and members from one distribution, whose width differs from point to point."""
    rng = np.random.default_rng(seed)
    std = rng.uniform(0.5, 4, size=(points, 1))
    return spread * std[:, None] * rng.normal(size=(points, members, 1)), std * rng.normal(size=(points, 1))


def test_that_the_pit_of_a_calibrated_ensemble_is_uniform_and_of_a_narrow_one_is_not():
    rng = np.random.default_rng(1)
    assert kstest(pit(*calibrated(), rng).ravel(), "uniform").pvalue > 0.01
    assert kstest(pit(*calibrated(spread=0.8), rng).ravel(), "uniform").pvalue < 1e-6


def test_that_the_pit_lies_in_the_cell_of_the_rank():
    E, x = calibrated(points=50)
    u = pit(E, x, np.random.default_rng(2))
    np.testing.assert_array_equal(np.floor(u * 9), arrays.ranks(E, x))


def test_that_the_flatness_is_pearsons_statistic_for_each_degree_of_freedom():
    # counts 2, 4, 6 against 4: (4 + 0 + 4) / 4 = 2 for two degrees of freedom
    assert rank_flatness([2, 4, 6]) == pytest.approx(1)


def test_that_the_pit_distance_is_kolmogorovs_between_pit_and_the_uniform_distribution():
    # of 4, 1, 1, 2 shares of 1/2, 5/8, 6/8 lie below 1/4, 1/2, 3/4
    assert pit_distance([4, 1, 1, 2]) == pytest.approx(1 / 4)
    assert pit_distance([3, 3, 3]) == pytest.approx(0)
    assert pit_distance([0, 0, 9]) == pytest.approx(2 / 3)
    assert math.isnan(pit_distance([0, 0, 0]))
    E, x = calibrated(spread=0.8)
    counts = arrays.rank_histogram(arrays.ranks(E, x), 8)
    exact = kstest(pit(E, x, np.random.default_rng(4)).ravel(), "uniform").statistic
    assert pit_distance(counts) == pytest.approx(exact, abs=0.003)  # the random part of 20,000 points


def test_that_slope_and_curvature_are_found_where_they_are_and_add_up():
    # three ranks have two contrasts: (-1, 0, 1) / sqrt 2 and (1, -2, 1) / sqrt 6, whose statistics make up all of it
    (slope, p_slope), (curvature, _) = rank_contrasts([2, 5, 8])
    assert (slope, curvature) == pytest.approx((36 / 2 / 5, 0))
    assert p_slope == pytest.approx(math.erfc(math.sqrt(slope / 2)))
    (slope, _), (curvature, _) = rank_contrasts([6, 1, 5])
    assert slope + curvature == pytest.approx(arrays.rank_chi2([6, 1, 5]))
    (slope, p_slope), (curvature, p_curvature) = rank_contrasts([60, 40, 30, 40, 60])
    assert p_slope > 0.99 and p_curvature < 1e-3
    assert math.isnan(rank_contrasts([0, 0, 0])[0][0])


def test_that_p_values_of_contrasts_are_uniform_for_a_calibrated_ensemble():
    rng = np.random.default_rng(5)
    found = [rank_contrasts(rng.multinomial(2000, np.full(9, 1 / 9))) for _ in range(500)]
    for k in (0, 1):
        assert kstest([pair[k][1] for pair in found], "uniform").pvalue > 0.01


def test_that_spread_skill_bins_are_the_double_loop():
    E, x = calibrated(points=300, members=5)
    edges = np.array([0.0, 1.0, 2.0, 10.0])
    found = spread_skill(E, x, edges)
    for k in range(3):
        inside = [(e, t) for e, t in zip(E[..., 0], x[:, 0], strict=True) if edges[k] <= e.std(ddof=1) < edges[k + 1]]
        assert found.points[k] == len(inside) > 0
        assert found.variance[k] == pytest.approx(sum(e.var(ddof=1) for e, _ in inside))
        assert found.squared_error[k] == pytest.approx(sum((e.mean() - t) ** 2 for e, t in inside))


@pytest.mark.parametrize("members", [3, 10])
def test_that_the_ratio_of_a_calibrated_ensemble_is_one_for_every_size(members):
    E, x = calibrated(points=100_000, members=members)
    assert spread_skill(E, x).ratio(members) == pytest.approx(1, abs=0.01)
    assert spread_skill(0.5 * E, x).ratio(members) < 0.75


def test_that_the_curve_of_two_points_is_written_by_hand():
    bins = SpreadSkill(np.array([2.0, 0.0]), np.array([6.0, 0.0]), np.array([8.0, 0.0]))
    spread, skill = bins.curve(members=2)
    np.testing.assert_allclose(spread, [math.sqrt(1.5 * 3), np.nan])
    np.testing.assert_allclose(skill, [2, np.nan])
    assert bins.ratio(2) == pytest.approx(math.sqrt(4.5) / 2)


def test_that_points_outside_the_edges_are_in_the_last_bins_and_nan_in_none():
    E = np.array([[[-1e9], [1e9]], [[0.0], [0.0]], [[np.nan], [0.0]]])
    found = spread_skill(E, np.zeros((3, 1)))
    assert found.points.sum() == 2 and found.points[0] == found.points[-1] == 1
    assert math.isnan(spread_skill(E[:, :1], np.zeros((3, 1))).ratio(1))
