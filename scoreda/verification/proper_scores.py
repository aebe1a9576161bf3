r"""Proper scores of densities and of whole fields: logarithmic and energy score; lower is better.

Shapes are those of `arrays`: `E` is an ensemble `(..., N, Nx)` and `x` the truth `(..., Nx)`; the leading axes stay.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from scoreda.verification.arrays import checked, undefined

__all__ = ["energy_score", "gaussian_log_score", "log_score", "log_score_of_moments"]


def gaussian_log_score(mean: ArrayLike, variance: ArrayLike, x: ArrayLike) -> np.ndarray:
    r"""Return the logarithmic score of Gaussian densities, averaged over space.

    $$ -\ln p(x) = \tfrac12 \ln(2 \pi \sigma^2) + \frac{(x - \mu)^2}{2 \sigma^2} $$

    Args:
        mean: $\mu$, `(..., Nx)`, model units.
        variance: $\sigma^2$, `(..., Nx)`; where it is zero the score is infinite, or NaN on the mean itself.
        x: Truth, `(..., Nx)`.

    Returns:
        `(...)`, nats per variable.

    Source: Gneiting and Raftery (2007), https://doi.org/10.1198/016214506000001437
    """
    mean, variance, x = (np.asarray(values, dtype=np.float64) for values in (mean, variance, x))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (0.5 * np.log(2 * math.pi * variance) + 0.5 * (x - mean) ** 2 / variance).mean(-1)


def log_score(E: ArrayLike, x: ArrayLike) -> np.ndarray:
    r"""Return the fair logarithmic score of the Gaussian with the moments of the ensemble, averaged over space.

    $$ \tfrac12 \ln(2 \pi s^2) + \frac{N-3}{N-1} \frac{(x - \bar E)^2}{2 s^2}
       - \tfrac12 \Big( \psi(\tfrac{N-1}{2}) - \ln \tfrac{N-1}{2} + \tfrac1N \Big) $$

    with the unbiased variance $s^2$ and the digamma function $\psi$. The corrections make the expectation that of
    `gaussian_log_score` with the mean and the variance that Gaussian members were drawn from, whatever N is. Only two
    moments are seen: an ensemble of another shape is scored as if it were Gaussian.

    Returns:
        `(...)`, nats per variable; NaN with fewer than 4 members, where no such correction exists.

    Source: Siegert et al. (2019), The ensemble-adjusted ignorance score, https://doi.org/10.1002/qj.3447
    """
    E, x = checked(E, x)
    N = E.shape[-2]
    return undefined(E, x) if N < 4 else log_score_of_moments(E.mean(-2), E.var(-2, ddof=1), x, N)


def log_score_of_moments(mean: np.ndarray, variance: np.ndarray, x: np.ndarray, members: int) -> np.ndarray:
    """Return the `log_score` `(...)` of at least 4 members from their mean and unbiased variance `(..., Nx)`."""
    from scipy.special import digamma

    N = members
    correction = digamma((N - 1) / 2) - math.log((N - 1) / 2) + 1 / N
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.log(2 * math.pi * variance) + (N - 3) / (N - 1) * (mean - x) ** 2 / variance - correction
    return 0.5 * score.mean(-1)


def energy_score(E: ArrayLike, x: ArrayLike) -> np.ndarray:
    r"""Return the fair energy score, which sees the dependence between variables.

    $$ \mathrm{es} = \tfrac{1}{N} \sum_i \|E_i - x\| - \tfrac{1}{2 N (N-1)} \sum_{i,k} \|E_i - E_k\|, \quad
       \|v\|^2 = \tfrac{1}{N_x} \sum_j v_j^2 $$

    The norm is a root mean square, so that scores of states of different sizes compare; with one variable it is the
    fair CRPS. Takes O(N^2 Nx) operations. The distances of the members come from their inner products: those of members
    that agree in all but the last digits are lost in rounding, where they contribute nothing.

    Returns:
        `(...)`, model units; NaN for a single member.

    Source: Gneiting and Raftery (2007), section 4.3, https://doi.org/10.1198/016214506000001437, made fair as in Ferro
    (2014), https://doi.org/10.1002/qj.2270
    """
    E, x = checked(E, x)
    N, Nx = E.shape[-2:]
    if N < 2:
        return undefined(E, x)
    accuracy = np.sqrt(((E - x[..., None, :]) ** 2).mean(-1)).mean(-1)
    A = E - E.mean(-2, keepdims=True)
    products = A @ A.swapaxes(-1, -2)
    squares = np.einsum("...ii->...i", products)
    distances = np.sqrt(np.maximum(squares[..., :, None] + squares[..., None, :] - 2 * products, 0) / Nx)
    return accuracy - distances.sum((-2, -1)) / (2 * N * (N - 1))
