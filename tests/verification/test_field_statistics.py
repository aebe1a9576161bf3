"""Spectra and correlations against single waves, Parseval's identity and double loops."""

import numpy as np
import pytest
from scipy.stats import norm

from scoreda.errors import ScoredaError
from scoreda.verification import fields


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, shape)


def travelling(waves, periods, steps=48, Nx=12, dt=0.25, length=5.0, amplitude=3.0):
    """Return cos(k s - omega t) with whole numbers of waves and periods, its k and its omega."""
    k, omega = 2 * np.pi * waves / length, 2 * np.pi * periods / (steps * dt)
    t, s = dt * np.arange(steps)[:, None], length / Nx * np.arange(Nx)
    return amplitude * np.cos(k * s - omega * t + 0.4), k, omega


def at(axis, value):
    """Return the index of `value`, which must be on the axis to rounding."""
    index = np.abs(axis - value).argmin()
    np.testing.assert_allclose(axis[index], value, atol=1e-12)
    return index


def test_that_densities_share_their_bins_and_integrate_to_one():
    a, b = noise(50, 4), noise(30, seed=1)
    edges, (first, second) = fields.densities(a, b, bins=20)
    assert (edges[0], edges[-1]) == (min(a.min(), b.min()), max(a.max(), b.max()))
    for density, sample in ((first, a), (second, b)):
        assert (density * np.diff(edges)).sum() == pytest.approx(1)
        assert density[3] * np.diff(edges)[3] == np.mean((sample >= edges[3]) & (sample < edges[4]))


def test_that_the_density_of_gaussian_quantiles_is_the_gaussian():
    n = 200_000
    edges, (density,) = fields.densities(norm.ppf((np.arange(n) + 0.5) / n), bins=100)
    np.testing.assert_allclose(density, np.diff(norm.cdf(edges)) / np.diff(edges), atol=1e-3)


@pytest.mark.parametrize("Nx", [1, 2, 8, 9])
def test_that_every_spectrum_sums_to_the_variance(Nx):
    windows, maps = noise(5, 7, Nx), noise(5, 6, Nx)
    assert fields.wavenumber_spectrum(windows)[1].sum(-1).mean() == pytest.approx(windows.var(), rel=1e-12)
    energy = fields.frequency_wavenumber_spectrum(windows, 0.1, hann=False)[2]
    assert energy.sum() == pytest.approx(windows.var(), rel=1e-12)
    energy = fields.isotropic_spectrum(maps, (1.0, 3.0))[1]
    assert energy.sum(-1).mean() == pytest.approx(maps.var(), rel=1e-12)


@pytest.mark.parametrize("Nx", [8, 9])
def test_that_one_wave_is_one_wavenumber_in_radians_per_length(Nx):
    s = 5.0 / Nx * np.arange(Nx)
    k, energy = fields.wavenumber_spectrum(7 + 3 * np.cos(2 * np.pi * 2 / 5.0 * s + 0.3), length=5.0)
    np.testing.assert_allclose(k, 2 * np.pi / 5.0 * np.arange(5))
    np.testing.assert_allclose(energy, [0, 0, 4.5, 0, 0], atol=1e-12)
    assert fields.wavenumber_spectrum(s)[0].tolist() == [0, 1, 2, 3, 4]


def test_that_the_shortest_wave_of_an_even_grid_is_counted_once():
    np.testing.assert_allclose(fields.wavenumber_spectrum([2.0, -2.0] * 4)[1], [0, 0, 0, 0, 4], atol=1e-12)


@pytest.mark.parametrize("Nx", [12, 13])
@pytest.mark.parametrize(("waves", "periods"), [(3, 5), (-3, 5), (1, 1), (-5, 20), (0, 4), (2, 0)])
def test_that_a_travelling_wave_is_one_point_of_the_right_sign(waves, periods, Nx):
    x, k, omega = travelling(waves, periods, Nx=Nx)
    frequencies, wavenumbers, energy = fields.frequency_wavenumber_spectrum(x, 0.25, 5.0, hann=False)
    assert energy.shape == (25, Nx)
    # A standing pattern (omega = 0) has no direction: half of its energy at k, half at -k.
    expected = np.zeros_like(energy)
    for sign in (1, -1) if periods == 0 else (1,):
        expected[at(frequencies, omega), at(wavenumbers, sign * k)] = 4.5 / (2 if periods == 0 else 1)
    np.testing.assert_allclose(energy, expected, atol=1e-12)


def test_that_the_taper_keeps_the_peak_and_the_energy_of_a_wave():
    x, k, omega = travelling(3, 5)
    frequencies, wavenumbers, energy = fields.frequency_wavenumber_spectrum(x, 0.25, 5.0)
    row, column = np.unravel_index(energy.argmax(), energy.shape)
    assert (row, column) == (at(frequencies, omega), at(wavenumbers, k))
    np.testing.assert_allclose(energy[row - 1 : row + 2, column], np.array([1, 4, 1]) / 6 * 4.5)
    assert energy.sum() == pytest.approx(4.5)


def test_that_the_taper_keeps_the_variance_of_white_noise_and_stops_leakage():
    windows = noise(400, 16, 8)
    energy = fields.frequency_wavenumber_spectrum(windows, 1.0)[2]
    assert energy.sum() == pytest.approx(windows.var(), rel=5 * np.sqrt(2 / windows.size * 35 / 18))
    x, _, _ = travelling(3, 5.5)  # a period and a half too many
    far = [fields.frequency_wavenumber_spectrum(x, 0.25, 5.0, hann)[2][15:].sum() for hann in (True, False)]
    assert far[0] < 1e-3 * far[1]


def test_that_axes_hold_zero_and_both_nyquist_ends():
    frequencies, wavenumbers, _ = fields.frequency_wavenumber_spectrum(noise(32, 32), 0.2)
    assert wavenumbers.tolist() == list(range(-16, 16)) and wavenumbers[16] == 0
    assert (frequencies[0], frequencies[-1]) == (0, pytest.approx(np.pi / 0.2))


def test_that_the_frequency_wavenumber_spectrum_sums_to_that_of_wavenumbers():
    windows = noise(6, 10, 9)
    energy = fields.frequency_wavenumber_spectrum(windows, 1.0, hann=False)[2].sum(0)
    folded = energy[4:] + np.append(0, energy[3::-1])  # k >= 0, and k < 0 from the middle outwards
    np.testing.assert_allclose(folded, fields.wavenumber_spectrum(windows)[1].mean((0, 1)), rtol=1e-12)


@pytest.mark.parametrize(("my", "mx", "ring"), [(0, 2, 2), (3, 4, 5), (-3, 4, 5), (1, 1, 1), (2, 2, 3), (0, 0, None)])
def test_that_a_plane_wave_is_in_the_ring_of_its_wavenumber(my, mx, ring):
    y, x = 2 * np.pi * np.arange(12)[:, None] / 12, 2 * np.pi * np.arange(10) / 10
    k, energy = fields.isotropic_spectrum(2 * np.cos(my * y + mx * x))
    expected = np.zeros_like(k)
    if ring is not None:
        expected[at(k, ring)] = 2
    np.testing.assert_allclose(energy, expected, atol=1e-12)


def test_that_rings_are_round_in_a_domain_that_is_not_square():
    s = np.arange(16) / 16
    k, along_x = fields.isotropic_spectrum(np.cos(2 * np.pi * 4 * s) + np.zeros((8, 1)), lengths=(1.0, 2.0))
    _, along_y = fields.isotropic_spectrum(np.cos(2 * np.pi * 2 * s[::2, None]) + np.zeros(16), lengths=(1.0, 2.0))
    assert k[1] == pytest.approx(np.pi)
    np.testing.assert_allclose(along_x, along_y, atol=1e-12)  # both are 2 waves per unit of length
    assert along_x[4] == pytest.approx(0.5)


@pytest.mark.parametrize("Nx", [7, 8])
def test_that_the_correlation_in_space_and_time_equals_a_double_loop(Nx):
    windows = noise(3, 6, Nx)
    lags, correlation = fields.space_time_correlation(windows, 4)
    x = windows - windows.mean()
    for tau in range(5):
        for column, r in enumerate(lags):
            pairs = [x[:, t, s] * x[:, t + tau, (s + r) % Nx] for t in range(6 - tau) for s in range(Nx)]
            assert correlation[tau, column] == pytest.approx(np.mean(pairs) / windows.var(), abs=1e-12)
    np.testing.assert_allclose(fields.autocorrelation(windows, 4), correlation[:, lags == 0][:, 0])
    np.testing.assert_allclose(fields.two_point_correlation(windows), correlation[0, Nx // 2 :: -1], atol=1e-12)


def test_that_correlations_of_one_wave_are_cosines_that_travel_with_it():
    x, k, omega = travelling(2, 6)
    lags, correlation = fields.space_time_correlation(x, 10)
    r, tau = 5.0 / 12 * lags, 0.25 * np.arange(11)[:, None]
    np.testing.assert_allclose(correlation, np.cos(k * r - omega * tau), atol=1e-12)
    np.testing.assert_allclose(fields.two_point_correlation(x), np.cos(k * 5.0 / 12 * np.arange(7)), atol=1e-12)


def test_that_the_correlation_is_the_transform_of_the_spectrum():
    states = noise(20, 9)
    energy, r = fields.wavenumber_spectrum(states)[1].mean(0), np.arange(5)
    covariance = np.cos(2 * np.pi * np.outer(r, r) / 9) @ energy
    np.testing.assert_allclose(fields.two_point_correlation(states), covariance / states.var(), rtol=1e-10)


def test_that_a_single_series_has_an_autocorrelation_and_a_constant_none():
    rng, a = np.random.default_rng(2), 0.8
    series = np.zeros(40_000)
    for t in range(1, series.size):
        series[t] = a * series[t - 1] + rng.normal()
    error = np.sqrt((1 + a**2) / (1 - a**2) / series.size)
    np.testing.assert_allclose(fields.autocorrelation(series[:, None], 5), a ** np.arange(6), atol=4 * error)
    assert np.isnan(fields.two_point_correlation(np.ones((2, 4)))).all()


def test_that_wrong_shapes_and_long_lags_are_refused():
    with pytest.raises(ScoredaError, match=r"`windows` must have shape \(\.\.\., time, space\), got \(4,\)"):
        fields.frequency_wavenumber_spectrum(np.ones(4), 0.1)
    with pytest.raises(ScoredaError, match="less than the 6 times of a window, got 6"):
        fields.autocorrelation(noise(6, 4), 6)
