"""Autoregressive series, whose autocorrelation time and error of the mean are known."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from scoreda.errors import ScoredaError
from scoreda.verification.time_means import autocorrelation_time, effective_size, mean_interval, standard_error


def autoregressive(a, size, number, seed=1):
    """Stationary series x_k = a x_(k-1) + e_k of unit variance, `(number, size)`."""
    rng = np.random.default_rng(seed)
    steps = math.sqrt(1 - a**2) * rng.normal(size=(number, size))
    steps[:, 0] /= math.sqrt(1 - a**2)
    return lfilter([1], [1, -a], steps, axis=-1)


@pytest.mark.parametrize("a", [-0.4, 0.0, 0.5, 0.9])
def test_that_the_autocorrelation_time_is_the_known_one(a):
    # rho_l = a^l sums to tau = (1 + a) / (1 - a)
    found = np.mean([autocorrelation_time(x) for x in autoregressive(a, 20_000, 20)])
    assert found == pytest.approx((1 + a) / (1 - a), rel=0.05)


@pytest.mark.parametrize("a", [0.0, 0.8])
def test_that_the_standard_error_is_the_scatter_of_the_means(a):
    series = autoregressive(a, 2000, 400)
    errors = np.array([standard_error(x) for x in series])
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(series.mean(1).std(), rel=0.1)
    assert np.mean([effective_size(x) for x in series]) == pytest.approx(2000 * (1 - a) / (1 + a), rel=0.1)


def test_that_the_interval_covers_the_mean_as_often_as_it_says():
    inside = [low < 0 < high for low, high in (mean_interval(x, 0.9) for x in autoregressive(0.7, 1000, 500, seed=3))]
    # binomial: 0.9 +- 3 * 0.0134, and a few per cent below for so short a series
    assert 0.85 < np.mean(inside) < 0.94


def test_that_the_error_follows_units_and_ignores_the_level():
    (x,) = autoregressive(0.6, 500, 1)
    assert standard_error(7 + 3 * x) == pytest.approx(3 * standard_error(x), rel=1e-9)


def test_that_unknown_errors_are_nan():
    assert math.isnan(standard_error([1.0])) and math.isnan(standard_error(np.ones(50)))
    assert math.isnan(standard_error([1.0, np.nan, 2.0, 1.0])) and math.isnan(autocorrelation_time(np.full(9, np.nan)))
    assert math.isnan(standard_error([1.0, 2.0, 1.5, 1.2]))  # too short for any lag to be left out


def test_that_fields_and_percentages_are_refused():
    with pytest.raises(ScoredaError, match=r"series.*got shape \(3, 4\)"):
        standard_error(np.ones((3, 4)))
    with pytest.raises(ScoredaError, match=r"got 95.*0\.95"):
        mean_interval(np.arange(5.0), 95)
