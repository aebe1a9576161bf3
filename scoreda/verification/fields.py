r"""Statistics of fields, to be held beside those of true ones: of one point, of two points, spectra.

Space is the last axis and periodic, time the one before, samples come first. `states` are `(..., Nx)`, `windows`
`(..., time, Nx)`, `maps` `(..., ny, nx)`. Every spectrum is energy per bin, not density: it sums to the variance about
the mean over everything (Parseval), and divided by the width of its bins it is a density. Wavenumbers and frequencies
are angular; a domain of the default length 2 pi makes wavenumbers whole, the number of waves in the domain.
"""

from math import pi

import numpy as np
from numpy.typing import ArrayLike

from scoreda.errors import ScoredaError

__all__ = [
    "autocorrelation",
    "densities",
    "frequency_wavenumber_spectrum",
    "isotropic_spectrum",
    "space_time_correlation",
    "two_point_correlation",
    "wavenumber_spectrum",
]


def densities(*samples: ArrayLike, bins: int = 60) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the probability densities of single values of several samples, on the same bins.

    Args:
        samples: Arrays of any shape.
        bins: Equal bins over the range that all samples take together.

    Returns:
        Edges `(bins + 1,)` and one density `(bins,)` per sample.
    """
    values = [np.ravel(np.asarray(sample, dtype=np.float64)) for sample in samples]
    edges = np.histogram_bin_edges(np.concatenate(values), bins)
    return edges, [np.histogram(sample, edges, density=True)[0] for sample in values]


def two_point_correlation(states: ArrayLike) -> np.ndarray:
    r"""Return the correlation of points `r` grid intervals apart, averaged over samples and space.

    $$ \rho(r) = \langle x'_s x'_{s + r} \rangle / \langle x'^2 \rangle, \quad r = 0 \dots N_x / 2 $$

    Args:
        states: `(..., Nx)`, periodic.

    Returns:
        `(Nx // 2 + 1,)`; NaN where nothing varies.
    """
    lags, correlation = space_time_correlation(np.asarray(states)[..., None, :], 0)
    distance = np.arange(len(lags) // 2 + 1)
    return correlation[0, len(lags) // 2 - distance]


def autocorrelation(windows: ArrayLike, max_lag: int) -> np.ndarray:
    """Return the correlation of values 0..`max_lag` output steps apart at one point, `(max_lag + 1,)`.

    Arguments and errors are those of `space_time_correlation`; for a single series pass `(time, 1)`.
    """
    lags, correlation = space_time_correlation(windows, max_lag)
    return correlation[:, len(lags) // 2]


def space_time_correlation(windows: ArrayLike, max_lag: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the correlation of a point with the point `r` grid intervals to its right, `tau` output steps later.

    $$ \rho(\tau, r) = \langle x'_{t, s} x'_{t + \tau, s + r} \rangle / \langle x'^2 \rangle $$

    Each lag averages the pairs that it has. A pattern that travels to the right has its ridge at positive `r`.

    Args:
        windows: `(..., time, Nx)`, periodic in space.
        max_lag: Largest lag in time, in output steps.

    Returns:
        Lags in space `(Nx,)`, from -(Nx // 2) upwards, and correlations `(max_lag + 1, Nx)`.

    Raises:
        ScoredaError: if the windows are too short.
    """
    x = _anomalies(windows, 2, "windows", "(..., time, space)")
    steps, Nx = x.shape[-2:]
    if not 0 <= max_lag < steps:
        raise ScoredaError(f"`max_lag` must be less than the {steps} times of a window, got {max_lag}.")
    waves = np.fft.rfft(x, axis=-1).reshape(-1, steps, Nx // 2 + 1)
    cross = [(waves[:, : steps - lag].conj() * waves[:, lag:]).mean((0, 1)) for lag in range(max_lag + 1)]
    covariance = np.fft.fftshift(np.fft.irfft(cross, Nx, axis=-1) / Nx, axes=-1)
    with np.errstate(invalid="ignore"):
        return np.arange(Nx) - Nx // 2, covariance / np.mean(x**2)


def wavenumber_spectrum(states: ArrayLike, length: float = 2 * pi) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the energy of each sample in each wavenumber, one-sided.

    $$ e_m = c_m |\hat x_m|^2 / N_x^2, \quad k_m = 2 \pi m / L $$
    with c = 1 for m = 0 and m = Nx/2, and 2 between, which stand for -m too. The sum over m, averaged over samples, is
    the variance. Nothing is windowed: the axis is periodic.

    Args:
        states: `(..., Nx)`, periodic.
        length: Of the domain.

    Returns:
        Wavenumbers `(Nx // 2 + 1,)`, radians per unit of length, and energies `(..., Nx // 2 + 1)`, units squared.
    """
    x = _anomalies(states, 1, "states", "(..., space)")
    Nx = x.shape[-1]
    k = 2 * pi / length * np.arange(Nx // 2 + 1)
    return k, one_sided(Nx) * np.abs(np.fft.rfft(x, axis=-1) / Nx) ** 2


def frequency_wavenumber_spectrum(
    windows: ArrayLike, dt: float, length: float = 2 * pi, hann: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return the energy in each frequency and wavenumber, averaged over windows.

    $$ e(\omega, k) = c_\omega \langle |\hat x|^2 \rangle / (N_t N_x)^2, \quad
       \hat x = \sum_{t, s} w_t x'_{t, s} e^{-i (k s - \omega t)} $$

    Frequencies are one-sided (c = 2 within, 1 at both ends), wavenumbers two-sided: the wave $\cos(k s - \omega t)$ has
    its energy at $(\omega, k)$, so k > 0 travels to the right and k < 0 to the left. At k = -pi Nx / L, the shortest
    wave of an even grid, both directions look alike. Space is periodic and not tapered.

    Args:
        windows: `(..., time, Nx)`, periodic in space.
        dt: Between outputs.
        length: Of the domain.
        hann: Taper time with a Hann window, scaled to mean square 1, so that the sum stays the variance of a stationary
            field (exactly for waves whose periods fit the window). Each wave then fills three frequencies, with 1/6,
            2/3 and 1/6 of its energy. Without the taper the sum is the variance of any field, and waves whose periods
            do not fit leak far.

    Returns:
        Frequencies `(time // 2 + 1,)`, radians per unit of time; wavenumbers `(Nx,)`, radians per unit of length, from
        -(Nx // 2) waves in the domain upwards; energies `(time // 2 + 1, Nx)`, units squared.
    """
    x = _anomalies(windows, 2, "windows", "(..., time, space)")
    steps, Nx = x.shape[-2:]
    taper = np.sqrt(8 / 3) * np.sin(pi * np.arange(steps) / steps) ** 2 if hann else np.ones(steps)
    # rfft takes e^{-i omega t} of time and ifft e^{+i k s} of space: the conjugate of the sum above.
    waves = np.fft.ifft(np.fft.rfft(taper[:, None] * x, axis=-2) / steps, axis=-1)
    energy = one_sided(steps)[:, None] * (np.abs(waves) ** 2).reshape(-1, steps // 2 + 1, Nx).mean(0)
    omega = 2 * pi / (steps * dt) * np.arange(steps // 2 + 1)
    return omega, 2 * pi / length * (np.arange(Nx) - Nx // 2), np.fft.fftshift(energy, axes=-1)


def isotropic_spectrum(
    maps: ArrayLike, lengths: tuple[float, float] = (2 * pi, 2 * pi)
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the energy of each doubly periodic map in rings of the wavenumber plane.

    The ring of $k = j \Delta k$ holds the modes with $|k| / \Delta k$ nearest to the whole number j, where
    $\Delta k = 2\pi / \max(L_y, L_x)$. All modes are in some ring, the corners of the plane too, so the sum over rings
    is the variance.

    Args:
        maps: `(..., ny, nx)`.
        lengths: Of the domain, along y and x.

    Returns:
        Wavenumbers `(rings,)`, radians per unit of length, and energies `(..., rings)`, units squared.
    """
    x = _anomalies(maps, 2, "maps", "(..., ny, nx)")
    ky, kx = (2 * pi / length * n * np.fft.fftfreq(n) for n, length in zip(x.shape[-2:], lengths, strict=True))
    width = 2 * pi / max(lengths)
    ring = np.rint(np.hypot(ky[:, None], kx) / width).astype(np.intp).ravel()
    modes = (np.abs(np.fft.fft2(x, norm="forward")) ** 2).reshape(-1, ring.size)
    energy = np.stack([np.bincount(ring, weights) for weights in modes])
    return width * np.arange(energy.shape[-1]), energy.reshape(*x.shape[:-2], -1)


def _anomalies(x: ArrayLike, axes: int, name: str, shape: str) -> np.ndarray:
    """Return `x` as float64 minus its mean over everything."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim < axes or not x.size:
        raise ScoredaError(f"`{name}` must have shape {shape}, got {x.shape}.")
    return x - x.mean()


def one_sided(size: int) -> np.ndarray:
    """Return how many modes of a real series of `size` values each non-negative one stands for."""
    weights = np.full(size // 2 + 1, 2.0)
    weights[0] = 1
    weights[(size + 1) // 2 :] = 1
    return weights
