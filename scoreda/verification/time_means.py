r"""How well the mean of a correlated series is known: successive cycles are not independent samples.

$$ \mathrm{var}(\bar x) = \frac{\gamma_0 \tau}{n}, \quad \tau = 1 + 2 \sum_{l \ge 1} \rho_l $$

`tau` is the integrated autocorrelation time, n / tau the effective sample size.

Source: Sokal (1997), Monte Carlo methods in statistical mechanics, section 3,
https://doi.org/10.1007/978-1-4899-0319-8_6
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from scoreda.errors import ScoredaError

__all__ = ["autocorrelation_time", "effective_size", "mean_interval", "standard_error"]

WINDOW = 5.0  # lags are summed up to so many times tau: few enough for little noise, enough for exp(-5) of the tail


def autocorrelation_time(x: ArrayLike) -> float:
    r"""Return the integrated autocorrelation time of a series, in steps; 1 for white noise.

    The sum stops at the first lag M with $M \ge 5 \tau(M)$, and not before 5 (Sokal's window). A series shorter than
    some fifty tau gives too small a value.

    Args:
        x: `(time,)`.

    Returns:
        A positive number of steps; NaN for a series with NaN in it, that never changes, or is too short for
        the window.
    """
    x = _series(x)
    size = len(x)
    spectrum = np.abs(np.fft.rfft(x - x.mean(), 2 * size)) ** 2  # zeros behind: no wrapping around
    covariance = np.fft.irfft(spectrum)[:size] / size
    if not covariance[0] > 0:
        return math.nan
    tau = 2 * np.cumsum(covariance / covariance[0]) - 1
    enough = np.arange(size) >= WINDOW * np.maximum(tau, 1)
    return float(max(tau[np.argmax(enough)], 1 / size)) if enough.any() else math.nan


def effective_size(x: ArrayLike) -> float:
    """Return how many independent values tell as much about the mean: the length over `autocorrelation_time`."""
    return len(_series(x)) / autocorrelation_time(x)


def standard_error(x: ArrayLike) -> float:
    r"""Return the standard error of the time mean, $(\gamma_0 \tau / (n - \tau))^{1/2}$; NaN if unknown.

    $n - \tau$ in place of n since the sample variance $\gamma_0$ lacks the variance of the mean itself. A series of
    less than two independent values tells nothing about its error.
    """
    x = _series(x)
    tau = autocorrelation_time(x)
    return float(math.sqrt(x.var() * tau / (len(x) - tau))) if 2 * tau < len(x) else math.nan


def mean_interval(x: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return a confidence interval of the time mean: Student-t with one degree less than independent values.

    Args:
        x: `(time,)`.
        level: Between 0 and 1.
    """
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise ScoredaError(f"`level` must lie between 0 and 1, got {level}. Pass 0.95 for 95 %.")
    x = _series(x)
    half = float(stdtrit(effective_size(x) - 1, 0.5 + level / 2)) * standard_error(x)
    return float(x.mean()) - half, float(x.mean()) + half


def _series(x: ArrayLike) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ScoredaError(f"`x` must be a series `(time,)`, got shape {x.shape}. Pass one value per cycle.")
    return x
