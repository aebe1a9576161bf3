"""Distances against closed forms of Gaussians and an independent package; their intervals against repetition."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm, wasserstein_distance
from scipy.stats import energy_distance as scipy_energy_distance

from scoreda.errors import ScoredaError
from scoreda.verification import distances


def quantiles(mean, std, n=20_000):
    return norm.ppf((np.arange(n) + 0.5) / n, mean, std)


def pair(shift, n=40, m=60, size=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, size)), rng.normal(size=(m, size)) + shift


def test_that_the_divergence_of_a_table_is_as_by_hand():
    # counts 3, 1 and 1, 1 with half a count each: 3.5/5, 1.5/5 and 1.5/3, 1.5/3
    expected = 0.7 * math.log(0.7 / 0.5) + 0.3 * math.log(0.3 / 0.5)
    assert distances.kl_divergence([0.0, 0.1, 0.2, 1.0], [0.0, 1.0], bins=2) == pytest.approx(expected)


def test_that_the_divergence_of_gaussians_is_the_closed_form_in_the_right_order():
    p, q = quantiles(0.3, 1.0, 200_000), quantiles(0.0, 1.5, 200_000)
    closed = math.log(1.5) + (1 + 0.3**2) / (2 * 1.5**2) - 0.5
    assert distances.kl_divergence(p, q, bins=200) == pytest.approx(closed, rel=0.01)
    assert distances.kl_divergence(p, p) == 0


def test_that_the_divergence_of_samples_that_share_no_bin_is_large_but_finite():
    assert 1 < distances.kl_divergence(np.zeros(100), np.ones(100)) < 20


def test_that_wasserstein_distances_of_gaussians_are_the_closed_forms():
    p, q = quantiles(0.5, 1.0), quantiles(-1.0, 3.0)
    assert distances.wasserstein(quantiles(0.5, 2.0), quantiles(-1.0, 2.0)) == pytest.approx(1.5, abs=1e-9)
    assert distances.wasserstein(p, q, p=2) == pytest.approx(math.hypot(1.5, 2.0), rel=1e-3)


@pytest.mark.parametrize("sizes", [(7, 7), (6, 9), (1, 5), (40, 17)])
def test_that_one_dimensional_distances_equal_those_of_scipy(sizes):
    rng = np.random.default_rng(3)
    u, v = (rng.gamma(2.0, size=n) for n in sizes)
    assert distances.wasserstein(u, v) == pytest.approx(wasserstein_distance(u, v), rel=1e-12)
    assert distances.energy_distance(u, v) == pytest.approx(scipy_energy_distance(u, v) ** 2, rel=1e-10)


def test_that_order_two_of_unequal_sizes_is_that_of_the_repeated_samples():
    u, v = np.random.default_rng(4).normal(size=4), np.random.default_rng(5).normal(size=6)
    matched = np.sort(np.repeat(u, 3)) - np.sort(np.repeat(v, 2))
    assert distances.wasserstein(u, v, p=2) == pytest.approx(math.sqrt((matched**2).mean()), rel=1e-12)


def test_that_the_energy_distance_of_shifted_gaussians_has_its_closed_form():
    std, shift, n, m = 2.0, 1.7, 150, 100
    rng, tau = np.random.default_rng(6), std * math.sqrt(2)
    between = tau * math.sqrt(2 / math.pi) * math.exp(-((shift / tau) ** 2) / 2)
    between += shift * math.erf(shift / (tau * math.sqrt(2)))
    within = 2 * std / math.sqrt(math.pi)
    expected = 2 * between - 2 * within + within * (1 / n + 1 / m)
    draws = [distances.energy_distance(rng.normal(0, std, n), rng.normal(shift, std, m)) for _ in range(100)]
    assert np.mean(draws) == pytest.approx(expected, abs=4 * np.std(draws) / 10)


def test_that_the_energy_distance_takes_fields_and_does_not_depend_on_the_block(monkeypatch):
    X, Y = pair(0.5)
    whole = distances.energy_distance(X, Y)
    monkeypatch.setattr(distances, "BLOCK", 7)
    assert distances.energy_distance(X.reshape(-1, 2, 3), Y.reshape(-1, 2, 3)) == pytest.approx(whole, rel=1e-12)
    assert distances.energy_distance(X, X) == pytest.approx(0, abs=1e-12) and whole > 0


@pytest.mark.parametrize("number", [3, 6, 15])
def test_that_directions_are_orthonormal_in_sets(number):
    u = distances.orthogonal_directions(6, number, np.random.default_rng(0))
    assert u.shape == (6, number)
    np.testing.assert_allclose(u[:, :6].T @ u[:, :6], np.eye(min(number, 6)), atol=1e-12)
    np.testing.assert_allclose((u**2).sum(0), 1)


def test_that_the_sliced_distance_of_a_shift_is_its_length_over_root_d():
    X, _ = pair(0.0)
    shift = np.arange(6.0)
    for number in (6, 12):
        u = distances.orthogonal_directions(6, number, np.random.default_rng(1))
        measured = distances.sliced_wasserstein(X, X + shift, u)
        assert measured == pytest.approx(np.linalg.norm(shift) / math.sqrt(6), rel=1e-12)


def test_that_the_sliced_distance_of_isotropic_gaussians_is_the_difference_of_their_widths():
    rng = np.random.default_rng(7)
    u = distances.orthogonal_directions(4, 32, rng)
    X, Y = rng.normal(size=(40_000, 4)), 3 * rng.normal(size=(40_000, 4))
    assert distances.sliced_wasserstein(X, Y, u) == pytest.approx(2, rel=0.01)


def test_that_one_direction_is_the_distance_of_that_coordinate():
    X, Y = pair(0.7)
    expected = distances.wasserstein(X[:, 2], Y[:, 2], p=1)
    assert distances.sliced_wasserstein(X, Y, np.eye(6)[:, 2:3], p=1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.2, 3.0])
def test_that_the_interval_covers_the_true_distance_at_least_as_often_as_it_says(shift):
    rng, repeats, covered, widths = np.random.default_rng(8), 120, 0, []
    for _ in range(repeats):
        X, Y = rng.normal(size=60), rng.normal(shift, 1, size=80)
        compared = distances.compare(distances.wasserstein, X, Y, rng, resamples=60, level=0.9, power=2)
        covered += compared.low <= shift <= compared.high
        widths.append(compared.high - compared.low)
    assert covered >= binom.ppf(1e-3, repeats, 0.9)
    if shift == 3.0:  # far above the floor: as wide as the difference of two means is uncertain
        assert np.mean(widths) == pytest.approx(2 * norm.ppf(0.95) * math.sqrt(1 / 60 + 1 / 80), rel=0.15)


def test_that_the_ends_of_the_interval_mirror_each_other_in_the_power():
    X, Y = pair(0.8)
    u = distances.orthogonal_directions(6, 6, np.random.default_rng(2))
    sliced = lambda X, Y: distances.sliced_wasserstein(X, Y, u)
    compared = distances.compare(sliced, X, Y, np.random.default_rng(11), resamples=50, power=2)
    assert compared.low**2 + compared.high**2 == pytest.approx(2 * compared.value**2)
    assert compared.p_value == pytest.approx(1 / 51)  # 0.8 in each coordinate is plain: no permutation reaches it


def test_that_samples_of_one_distribution_pass_the_floor_as_often_as_it_says():
    rng, repeats, above, values, floors = np.random.default_rng(9), 200, 0, [], []
    for _ in range(repeats):
        X, Y = rng.normal(size=(20, 2)), rng.normal(size=(30, 2))
        compared = distances.compare(distances.energy_distance, X, Y, rng, resamples=40, level=0.8)
        above += compared.value > compared.floor
        values.append(compared.value)
        floors.append(compared.low)
    low, high = binom.interval(0.999, repeats, 0.2)
    assert low <= above <= high
    assert np.mean(floors) < 0  # the interval reaches below zero where there is nothing to tell apart


def test_that_the_comparison_repeats_to_the_bit_and_keeps_the_given_samples():
    X, Y = pair(0.5)
    before = X.copy(), Y.copy()
    first, second = (
        distances.compare(distances.energy_distance, X, Y, np.random.default_rng(10), resamples=9) for _ in range(2)
    )
    assert first == second and first.low < first.high
    np.testing.assert_array_equal(before[0], X)
    np.testing.assert_array_equal(before[1], Y)


def test_that_rows_of_other_shapes_and_directions_of_other_sizes_are_refused_with_the_fix():
    X, Y = pair(0.0)
    with pytest.raises(ScoredaError, match=r"got \(40, 6\) and \(60, 5\)"):
        distances.energy_distance(X, Y[:, :5])
    with pytest.raises(ScoredaError, match=r"6 coordinates, got 4.*orthogonal_directions\(6, number, rng\)"):
        distances.sliced_wasserstein(X, Y, np.eye(4))
