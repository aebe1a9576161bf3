r"""Scores of ensembles, on NumPy arrays alone.

Everywhere `E` is an ensemble `(..., N, Nx)` (member axis -2, space axis -1) and `x` the truth `(..., Nx)`; the leading
axes broadcast and stay. A NaN in the ensemble or in the truth makes the score of that field NaN.
"""

import numpy as np
from numpy.typing import ArrayLike

from scoreda.verification.fields import wavenumber_spectrum

__all__ = [
    "bias",
    "checked",
    "coverage",
    "covered",
    "crps",
    "energy_spectrum",
    "rank_bounds",
    "rank_chi2",
    "rank_histogram",
    "rank_p_value",
    "ranks",
    "rmse",
    "spread",
    "undefined",
]


def rmse(E: ArrayLike, x: ArrayLike) -> np.ndarray:
    r"""Return the root-mean-square error of the ensemble mean, over space.

    $$ \mathrm{rmse} = \Big( \tfrac{1}{N_x} \sum_j (\bar E_j - x_j)^2 \Big)^{1/2} $$

    Args:
        E: Ensemble, `(..., N, Nx)`, model units.
        x: Truth, `(..., Nx)`.

    Returns:
        `(...)`, model units.
    """
    E, x = checked(E, x)
    return np.sqrt(((E.mean(-2) - x) ** 2).mean(-1))


def bias(E: ArrayLike, x: ArrayLike) -> np.ndarray:
    """Return ensemble mean minus truth, averaged over space: `(...)`, model units; positive where too large."""
    E, x = checked(E, x)
    return (E.mean(-2) - x).mean(-1)


def spread(E: ArrayLike) -> np.ndarray:
    r"""Return the ensemble spread: the root of the space-mean unbiased variance.

    $$ \mathrm{spread} = \Big( \tfrac{1}{N_x} \sum_j \tfrac{1}{N-1} \sum_i (E_{ij} - \bar E_j)^2 \Big)^{1/2} $$

    Variances are averaged, not standard deviations, so that a calibrated ensemble has
    $\mathrm{rmse}^2 = \tfrac{N+1}{N} \mathrm{spread}^2$ in expectation.

    Returns:
        `(...)`, model units; NaN for a single member, which has no spread.

    Source: Fortin et al. (2014), Why should ensemble spread match the RMSE of the ensemble mean?,
    https://doi.org/10.1175/JHM-D-14-0008.1
    """
    E = np.asarray(E, dtype=np.float64)
    if E.shape[-2] < 2:
        return np.full(E.shape[:-2], np.nan)
    return np.sqrt(E.var(-2, ddof=1).mean(-1))


def crps(E: ArrayLike, x: ArrayLike) -> np.ndarray:
    r"""Return the fair continuous ranked probability score, averaged over space; lower is better.

    $$ \mathrm{crps} = \tfrac{1}{N} \sum_i |E_i - x| - \tfrac{1}{2 N (N-1)} \sum_{i,k} |E_i - E_k| $$

    The second sum is $2 \sum_i (2i - N - 1) E_{(i)}$ over the sorted members, hence O(N log N). *Fair* means that the
    expectation does not depend on N: it is the score of the distribution that the members were drawn from. It can be
    negative for one field.

    Returns:
        `(...)`, model units; NaN for a single member.

    Source: Ferro (2014), Fair scores for ensemble forecasts, https://doi.org/10.1002/qj.2270
    """
    E, x = checked(E, x)
    N = E.shape[-2]
    if N < 2:
        return undefined(E, x)
    accuracy = np.abs(E - x[..., None, :]).mean(-2)
    weights = (2 * np.arange(1, N + 1) - N - 1) / (N * (N - 1))
    dispersion = np.einsum("i,...ij->...j", weights, np.sort(E, axis=-2))
    return (accuracy - dispersion).mean(-1)


def coverage(E: ArrayLike, x: ArrayLike, level: float) -> np.ndarray:
    r"""Return the fraction of points at which the truth lies in the central `level` of the ensemble, by ranks.

    The truth's rank r = 0..N (members below it) is the cell $[r, r+1]/(N+1)$ of the unit interval. A point counts with
    the share of its cell that lies inside the central interval $[(1-level)/2, (1+level)/2]$; when `level (N+1)` is not
    a whole number of ranks, the two cells at the edges count in part. The shares of the N+1 ranks sum to
    `level (N+1)`, so a calibrated ensemble, whose ranks are uniform, has expectation `level` exactly, for every N.
    Where the truth ties with members, its cell spans all the tied ranks, which is the mean over random tie-breaking.

    Args:
        E: Ensemble, `(..., N, Nx)`.
        x: Truth, `(..., Nx)`.
        level: Nominal coverage, between 0 and 1.

    Returns:
        `(...)`, a fraction.

    Raises:
        ValueError: if `level` is not between 0 and 1.

    Source: ranks as in Hamill (2001), https://doi.org/10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2, cells as in the
    randomised probability integral transform of Czado et al. (2009), https://doi.org/10.1111/j.1541-0420.2009.01191.x
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1, got {level}. Pass 0.9 for 90 %.")
    E, x = checked(E, x)
    return covered(*rank_bounds(E, x), E.shape[-2], level)


def covered(low: np.ndarray, high: np.ndarray, members: int, level: float) -> np.ndarray:
    """Return the `coverage` `(...)` of a `level` from what `rank_bounds` found."""
    edge, cells = 0.5 * (1 - level), members + 1
    inside = np.clip((high + 1) / cells, edge, 1 - edge) - np.clip(low / cells, edge, 1 - edge)
    return (inside * cells / (high + 1 - low)).mean(-1)


def ranks(E: ArrayLike, x: ArrayLike, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return the rank of the truth in the ensemble, 0 (below all members) to N (above all).

    Args:
        E: Ensemble, `(..., N, Nx)`.
        x: Truth, `(..., Nx)`.
        rng: Breaks ties at random. Without it the truth is ranked below the members that equal it, which is right only
            where ties cannot happen.

    Returns:
        `(..., Nx)` float64, whole numbers or NaN.
    """
    E, x = checked(E, x)
    low, high = rank_bounds(E, x)
    return low if rng is None else low + np.floor(rng.random(low.shape) * (high + 1 - low))


def rank_histogram(ranks: ArrayLike, members: int) -> np.ndarray:
    """Return how often each rank 0..N occurs, `(N + 1,)` integers; NaN ranks are left out."""
    ranks = np.asarray(ranks, dtype=np.float64).ravel()
    return np.bincount(ranks[~np.isnan(ranks)].astype(np.intp), minlength=members + 1)


def rank_chi2(counts: ArrayLike) -> float:
    r"""Return the chi-square distance of a rank histogram from flatness, $\sum_r (c_r - \bar c)^2 / \bar c$.

    About N for a calibrated ensemble and independent ranks; NaN for an empty histogram.
    """
    counts = np.asarray(counts, dtype=np.float64)
    mean = counts.mean()
    return float(((counts - mean) ** 2).sum() / mean) if mean > 0 else float("nan")


def rank_p_value(counts: ArrayLike) -> float:
    """Return the probability that a calibrated ensemble has a rank histogram at least this far from flat.

    Exact when the counts are many and the ranks independent. Ranks of neighbouring variables and of successive cycles
    are not: thin them first, or take the value as a lower bound.
    """
    from scipy.special import gammaincc

    return float(gammaincc(0.5 * (len(np.asarray(counts)) - 1), 0.5 * rank_chi2(counts)))


def energy_spectrum(states: ArrayLike) -> np.ndarray:
    r"""Return the mean energy of periodic fields in each wavenumber.

    $$ e_k = c_k \tfrac{1}{N_x^2} \langle |\hat x_k|^2 \rangle, \quad x' = x - \bar x, \quad c_k = 1 $$
    for k = 0 and k = Nx/2, and 2 between, which stand for -k too; $\bar x$ is the mean over samples and space. So the
    sum over k is the variance of the fields (Parseval).

    Args:
        states: Samples as rows, `(samples, Nx)`.

    Returns:
        `(Nx // 2 + 1,)`, model units squared.
    """
    return wavenumber_spectrum(states)[1].mean(0)


def checked(E: ArrayLike, x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return ensemble and truth as float64; ValueError if their shapes do not fit."""
    E, x = np.asarray(E, dtype=np.float64), np.asarray(x, dtype=np.float64)
    if E.ndim < 2 or x.ndim < 1 or E.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"`E` must have shape (..., members, space) and `x` (..., space), got {E.shape} and {x.shape}. "
            "Rows of `E` are members."
        )
    return E, x


def undefined(E: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return NaN in the shape of a score."""
    return np.full(np.broadcast_shapes(E.shape[:-2], x.shape[:-1]), np.nan)


def rank_bounds(E: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest rank that ties allow, `(..., Nx)` float64, NaN where undefined."""
    unknown = np.isnan(x) | np.isnan(E).any(-2)
    low = (E < x[..., None, :]).sum(-2)
    high = (E <= x[..., None, :]).sum(-2)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)
