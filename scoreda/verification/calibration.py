r"""Whether an ensemble is as uncertain as it says: ranks as probabilities, the shape of their histogram, spread-skill.

Shapes are those of `arrays`: `E` is an ensemble `(..., N, Nx)` and `x` the truth `(..., Nx)`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scoreda.verification.arrays import checked, rank_chi2, ranks

__all__ = ["SPREAD_EDGES", "SpreadSkill", "pit", "pit_distance", "rank_contrasts", "rank_flatness", "spread_skill"]

SPREAD_EDGES = 2.0 ** np.arange(-20, 20.25, 0.25)  # of the bins that runs are counted in; about 19 % wide


def pit(E: ArrayLike, x: ArrayLike, rng: np.random.Generator) -> np.ndarray:
    r"""Return the randomised probability integral transform of the truth, uniform for a calibrated ensemble.

    $$ u = (r + v) / (N + 1), \quad v \sim U(0, 1) $$
    where r is the rank of the truth, ties broken at random.

    Returns:
        `(..., Nx)`, between 0 and 1; NaN where undefined.

    Source: Czado et al. (2009), https://doi.org/10.1111/j.1541-0420.2009.01191.x
    """
    r = ranks(E, x, rng)
    return (r + rng.random(r.shape)) / (np.shape(E)[-2] + 1)


def pit_distance(counts: ArrayLike) -> float:
    r"""Return the largest distance between the distribution of `pit` and the uniform one, between 0 and 1.

    $$ D = \max_r \left| \frac{1}{n} \sum_{s < r} c_s - \frac{r}{N + 1} \right| $$
    Kolmogorov's distance; `pit` is uniform within a rank, so its distribution has corners at these r alone. Unlike
    `rank_flatness` it grows neither with the cycles nor with the members: 0.05 says that a twentieth of the truths lies
    elsewhere than the ensemble has it.

    Args:
        counts: Rank histogram, `(N + 1,)`.

    Returns:
        The distance; NaN for an empty histogram.

    Source: Czado et al. (2009), https://doi.org/10.1111/j.1541-0420.2009.01191.x, section 2.1: the mean of `pit` over
        its random part.
    """
    counts = np.asarray(counts, dtype=np.float64)
    uniform = np.arange(1, len(counts) + 1) / len(counts)
    return float(np.abs(counts.cumsum() / counts.sum() - uniform).max()) if counts.any() else float("nan")


def rank_flatness(counts: ArrayLike) -> float:
    r"""Return how far a rank histogram is from flat, in units of what sampling makes of independent ranks.

    $$ \delta = \chi^2 / N $$
    with `rank_chi2`; 1 in expectation for a calibrated ensemble and independent ranks. Ranks of neighbouring variables
    and of successive cycles depend on each other, which makes it larger, and any defect makes it grow with the number
    of cycles: compare runs of one length.

    Source: Candille and Talagrand (2005), section 3, https://doi.org/10.1256/qj.04.71
    """
    return rank_chi2(counts) / (len(np.asarray(counts)) - 1)


def rank_contrasts(counts: ArrayLike) -> tuple[tuple[float, float], tuple[float, float]]:
    r"""Return how much of `rank_chi2` is slope and how much curvature, each with its p value.

    $$ \chi_u^2 = \frac{(\sum_r u_r c_r)^2}{\bar c}, \quad \sum_r u_r = 0, \; \sum_r u_r^2 = 1 $$
    for u linear in r (a bias) and quadratic in r, orthogonal to that (too little or too much spread). Both are
    chi-square with one degree of freedom for a calibrated ensemble and independent ranks, where few defects hide among
    many ranks less well than in the sum of all.

    Args:
        counts: `(N + 1,)`, at least three.

    Returns:
        Statistic and p value of the slope, and of the curvature; NaN for an empty histogram.

    Source: Jolliffe and Primo (2008), https://doi.org/10.1175/2007MWR2219.1
    """
    from scipy.special import gammaincc

    counts = np.asarray(counts, dtype=np.float64)
    r = np.arange(len(counts), dtype=np.float64)
    contrasts = np.linalg.qr(np.stack([np.ones_like(r), r - r.mean(), (r - r.mean()) ** 2], axis=1))[0][:, 1:]
    with np.errstate(invalid="ignore"):
        slope, curvature = (contrasts.T @ counts) ** 2 / counts.mean()
    return (float(slope), float(gammaincc(0.5, slope / 2))), (float(curvature), float(gammaincc(0.5, curvature / 2)))


class SpreadSkill(NamedTuple):
    """Points binned by spread; bins of several runs of one ensemble size add up.

    Attributes:
        points: How many are in each bin, `(bins,)`.
        variance: Sum of their unbiased ensemble variances.
        squared_error: Sum of their squared errors of the ensemble mean.
    """

    points: np.ndarray
    variance: np.ndarray
    squared_error: np.ndarray

    def curve(self, members: int) -> tuple[np.ndarray, np.ndarray]:
        r"""Return $(\frac{N+1}{N} \langle s^2 \rangle)^{1/2}$ and RMSE of each bin, NaN where it is empty.

        Equal for a calibrated ensemble: the truth is one more member, and the mean of N has an error of its own.

        Source: Fortin et al. (2014), https://doi.org/10.1175/JHM-D-14-0008.1
        """
        with np.errstate(invalid="ignore"):
            corrected = (members + 1) / members * self.variance / self.points
            return np.sqrt(corrected), np.sqrt(self.squared_error / self.points)

    def ratio(self, members: int) -> float:
        """Return corrected spread over RMSE of all points: 1 if calibrated, less if overconfident; NaN if none."""
        total = SpreadSkill(*(values.sum(keepdims=True) for values in self))
        (spread,), (skill,) = total.curve(members)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(spread / skill)


def spread_skill(E: ArrayLike, x: ArrayLike, edges: np.ndarray = SPREAD_EDGES) -> SpreadSkill:
    """Bin all points by the standard deviation of the ensemble there; values beyond the edges go to the last bins.

    Args:
        E: Ensemble, `(..., N, Nx)`, at least two members.
        x: Truth, `(..., Nx)`. Points that are NaN in either are left out.
        edges: Of the bins, `(bins + 1,)`, model units.
    """
    E, x = checked(E, x)
    if E.shape[-2] < 2:
        return SpreadSkill(*np.zeros((3, len(edges) - 1)))
    variance, squared_error = np.broadcast_arrays(E.var(-2, ddof=1), (E.mean(-2) - x) ** 2)
    known = np.isfinite(variance) & np.isfinite(squared_error)
    variance, squared_error = variance[known], squared_error[known]
    bins = np.clip(np.searchsorted(edges, np.sqrt(variance), side="right") - 1, 0, len(edges) - 2)
    weights = (None, variance, squared_error)
    return SpreadSkill(*(np.bincount(bins, w, minlength=len(edges) - 1).astype(np.float64) for w in weights))
