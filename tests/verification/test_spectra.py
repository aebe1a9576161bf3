"""Errors by wavenumber: Parseval, single waves, and a calibrated ensemble."""

import numpy as np
import pytest

from scoreda.verification import arrays
from scoreda.verification.spectra import error_spectrum, spread_spectrum


@pytest.mark.parametrize("size", [8, 9])
def test_that_the_spectra_sum_to_squared_error_and_squared_spread(size):
    rng = np.random.default_rng(1)
    E, x = rng.gamma(2.0, size=(4, 6, size)) + np.arange(size), rng.normal(size=(4, size))
    assert error_spectrum(E, x).shape == (4, size // 2 + 1)
    np.testing.assert_allclose(error_spectrum(E, x).sum(-1), arrays.rmse(E, x) ** 2, rtol=1e-12)
    np.testing.assert_allclose(spread_spectrum(E).sum(-1), arrays.spread(E) ** 2, rtol=1e-12)


def test_that_a_wave_and_a_constant_error_have_their_own_wavenumbers():
    grid = 2 * np.pi * np.arange(8) / 8
    E = np.stack([1 + 3 * np.cos(2 * grid), 1 + 3 * np.cos(2 * grid)])
    np.testing.assert_allclose(error_spectrum(E, np.zeros(8)), [1, 0, 4.5, 0, 0], atol=1e-12)
    np.testing.assert_allclose(spread_spectrum(E), 0, atol=1e-12)


def test_that_a_calibrated_ensemble_knows_its_errors_at_every_wavenumber():
    rng, scales = np.random.default_rng(2), np.array([0.5, 2.0, 1.0, 0.2, 0.1])
    waves = scales * (rng.normal(size=(20_000, 6, 5)) + 1j * rng.normal(size=(20_000, 6, 5)))
    states = np.fft.irfft(waves, 8, norm="forward")
    error, spread = error_spectrum(states[:, :5], states[:, 5]).mean(0), spread_spectrum(states[:, :5]).mean(0)
    np.testing.assert_allclose(6 / 5 * spread, error, rtol=0.05)


def test_that_one_member_has_no_spread():
    assert np.isnan(spread_spectrum(np.ones((1, 8)))).all()
