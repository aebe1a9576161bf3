"""Distances between two samples, of values or of fields, and what sampling alone makes of them."""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scoreda.errors import ScoredaError
from scoreda.verification.fields import densities

__all__ = [
    "Compared",
    "compare",
    "energy_distance",
    "kl_divergence",
    "orthogonal_directions",
    "sliced_wasserstein",
    "wasserstein",
]

BLOCK = 1000  # rows whose distances to all others are in memory at once


def kl_divergence(P: ArrayLike, Q: ArrayLike, bins: int = 60) -> float:
    r"""Return the Kullback-Leibler divergence of the values of `P` from those of `Q`, in nats.

    $$ D(P \| Q) = \sum_b p_b \ln (p_b / q_b), \quad p_b = (n_b + 1/2) / (n + B/2) $$

    Half a count is added to each of the B common bins, so that an empty one is improbable and not impossible. Two
    samples of one distribution are up to about $(B - 1)(1/n_P + 1/n_Q)/2$ apart.

    Source: Krichevsky and Trofimov (1981), https://doi.org/10.1109/TIT.1981.1056331
    """
    edges, pair = densities(P, Q, bins=bins)
    p, q = (_with_half_counts(density * np.diff(edges), np.size(x)) for density, x in zip(pair, (P, Q), strict=True))
    return float((p * np.log(p / q)).sum())


def wasserstein(P: ArrayLike, Q: ArrayLike, p: float = 1.0) -> float:
    r"""Return the Wasserstein-p distance of single values, $(\int_0^1 |F^{-1} - G^{-1}|^p\, du)^{1/p}$, in their units.

    Exact for samples of any two sizes; for p = 1 the area between the two distribution functions.
    """
    P, Q = (np.ravel(np.asarray(sample, dtype=np.float64))[:, None] for sample in (P, Q))
    return float(_transport(P, Q, p)[0] ** (1 / p))


def energy_distance(X: ArrayLike, Y: ArrayLike) -> float:
    r"""Return the energy distance $2 E|X - Y| - E|X - X'| - E|Y - Y'|$ of two samples of fields, in their units.

    Means run over all pairs, a row with itself too, so the distance is zero for equal samples and positive otherwise;
    two samples of one distribution are $(1/n + 1/m) E|X - X'|$ apart in expectation. Takes O((n + m)^2) distances.

    Args:
        X: Samples as rows, `(n, ...)`; axes behind the first are one vector.
        Y: `(m, ...)`.

    Source: Szekely and Rizzo (2013), Energy statistics, https://doi.org/10.1016/j.jspi.2013.03.018
    """
    X, Y = _rows(X, Y)
    return 2 * _mean_distance(X, Y) - _mean_distance(X, X) - _mean_distance(Y, Y)


def orthogonal_directions(size: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return `number` random unit vectors as columns, `(size, number)`, in orthonormal sets of up to `size`.

    Directions of one set never repeat each other, so fewer of them are needed than of independent ones.

    Source: Rowland et al. (2019), Orthogonal estimation of Wasserstein distances, https://arxiv.org/abs/1903.03784
    """
    sets = [np.linalg.qr(rng.normal(size=(size, min(size, number))))[0] for _ in range(0, number, size)]
    return np.concatenate(sets, axis=1)[:, :number]


def sliced_wasserstein(X: ArrayLike, Y: ArrayLike, directions: np.ndarray, p: float = 2.0) -> float:
    r"""Return the sliced Wasserstein-p distance $(\langle W_p^p(u \cdot X, u \cdot Y) \rangle_u)^{1/p}$ of two samples.

    Two distributions that differ in nothing but their means, by $\Delta$, have $SW_2 = |\Delta| / \sqrt{d}$: the
    distance is a root-mean-square one per coordinate.

    Args:
        X: Samples as rows, `(n, ...)`; axes behind the first are one vector of size d.
        Y: `(m, ...)`.
        directions: Unit vectors u as columns, `(d, number)`, from `orthogonal_directions`.
        p: Order.

    Source: Bonneel et al. (2015), Sliced and Radon Wasserstein barycenters, https://doi.org/10.1007/s10851-014-0506-3
    """
    X, Y = _rows(X, Y)
    if len(directions) != X.shape[1]:
        raise ScoredaError(
            f"`directions` must have one row for each of the {X.shape[1]} coordinates, got {len(directions)}. "
            f"Pass orthogonal_directions({X.shape[1]}, number, rng)."
        )
    return float(_transport(X @ directions, Y @ directions, p).mean() ** (1 / p))


class Compared(NamedTuple):
    """A distance, the interval of the true one, and what samples of one distribution would show.

    Attributes:
        value: The distance of the two samples.
        low: Lower end of the interval; below zero where the samples do not tell the distributions apart.
        high: Upper end.
        floor: What `level` of the distances stay below where both samples come from one distribution.
        p_value: Of the permutation test that they do.
    """

    value: float
    low: float
    high: float
    floor: float
    p_value: float


def compare(
    distance: Callable[[np.ndarray, np.ndarray], float],
    X: ArrayLike,
    Y: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 200,
    level: float = 0.9,
    power: float = 1.0,
) -> Compared:
    """Return the distance of two samples with a bootstrap interval and the noise floor of their sizes.

    Resampling adds to a distance about what sampling had added to it. The upper end of the interval is a quantile of
    the resampled distances, which keeps both; the lower end is its mirror image at the value, which takes both out. So
    the interval has its level where the distance is far above the floor, and covers more often near it. The floor and
    the test permute the pooled samples and are exact. All take the rows for independent: thin a series first.

    Args:
        distance: Of two samples `(n, d)` and `(m, d)`, such as `energy_distance`.
        X: Samples as rows, `(n, ...)`; axes behind the first are one vector of size d.
        Y: `(m, ...)`.
        rng: Of the resampling.
        resamples: Bootstrap samples, and as many permutations.
        level: Of the interval and of the floor.
        power: Of the distance to which sampling adds: 1 for `energy_distance`, 2 for Wasserstein distances. The mirror
            stands there.

    Source: percentile (upper) and basic (lower) limits and permutation tests as in Davison and Hinkley (1997),
    Bootstrap methods and their application, chapters 4 and 5, https://doi.org/10.1017/CBO9780511802843
    """
    X, Y = _rows(X, Y)
    pooled, value = np.concatenate([X, Y]), distance(X, Y)
    resampled = [distance(rng.choice(X, len(X)), rng.choice(Y, len(Y))) for _ in range(resamples)]
    permuted = [distance(z[: len(X)], z[len(X) :]) for z in (rng.permutation(pooled) for _ in range(resamples))]
    high = np.quantile(resampled, 0.5 + level / 2)
    mirrored = 2 * value**power - high**power
    low = np.sign(mirrored) * np.abs(mirrored) ** (1 / power)
    p_value = (1 + sum(other >= value for other in permuted)) / (1 + resamples)
    return Compared(*map(float, (value, low, high, np.quantile(permuted, level), p_value)))


def _with_half_counts(p: np.ndarray, n: int) -> np.ndarray:
    """Return the frequencies of `n` values after half a value has been added to each bin."""
    return (n * p + 0.5) / (n + 0.5 * p.size)


def _transport(U: np.ndarray, V: np.ndarray, p: float) -> np.ndarray:
    """Return W_p^p of each column of `U` `(n, L)` and `V` `(m, L)`, the integral over the steps of both quantiles."""
    n, m = len(U), len(V)
    ends = np.union1d(m * np.arange(1, n + 1), n * np.arange(1, m + 1))  # where a quantile jumps, in units of 1 / (n m)
    gaps = np.abs(np.sort(U, axis=0)[(ends - 1) // m] - np.sort(V, axis=0)[(ends - 1) // n])
    return np.diff(ends, prepend=0) @ gaps**p / (n * m)


def _rows(X: ArrayLike, Y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both samples as float64 `(n, d)` and `(m, d)`."""
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    if not (X.ndim and Y.ndim and X.size and Y.size and X.shape[1:] == Y.shape[1:]):
        raise ScoredaError(
            f"both samples must hold rows of one shape, got {X.shape} and {Y.shape}. The first axis counts samples."
        )
    width = prod(X.shape[1:])
    return X.reshape(-1, width), Y.reshape(-1, width)


def _mean_distance(X: np.ndarray, Y: np.ndarray) -> float:
    from scipy.spatial.distance import cdist

    return sum(cdist(X[i : i + BLOCK], Y).sum() for i in range(0, len(X), BLOCK)) / (len(X) * len(Y))
