r"""Errors and spread by wavenumber: on which scales an analysis is good, and whether its ensemble knows.

Space is one periodic axis; wavenumber m has m waves in the domain. Energies sum to the mean square (Parseval), the mean
over space included, which is wavenumber 0.
"""

import numpy as np
from numpy.typing import ArrayLike

from scoreda.verification.arrays import checked
from scoreda.verification.fields import one_sided

__all__ = ["error_spectrum", "spread_spectrum"]


def error_spectrum(E: ArrayLike, x: ArrayLike) -> np.ndarray:
    """Return the energy of the error of the ensemble mean in each wavenumber; the sum is the squared `rmse`.

    Args:
        E: Ensemble, `(..., N, Nx)`.
        x: Truth, `(..., Nx)`.

    Returns:
        `(..., Nx // 2 + 1)`, model units squared.
    """
    E, x = checked(E, x)
    return _energy(E.mean(-2) - x)


def spread_spectrum(E: ArrayLike) -> np.ndarray:
    """Return the unbiased ensemble variance in each wavenumber, `(..., Nx // 2 + 1)`; the sum is the squared `spread`.

    Times (N + 1) / N it is the `error_spectrum` of a calibrated ensemble in expectation. NaN for a single member.
    """
    E = np.asarray(E, dtype=np.float64)
    N = E.shape[-2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return _energy(E - E.mean(-2, keepdims=True)).sum(-2) / np.float64(N - 1)


def _energy(x: np.ndarray) -> np.ndarray:
    waves = np.fft.rfft(x, axis=-1, norm="forward")
    return one_sided(x.shape[-1]) * (waves.real**2 + waves.imag**2)
