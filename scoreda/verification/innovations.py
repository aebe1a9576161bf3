r"""Consistency in observation space: what departures of forecast and analysis say about the error statistics.

$d^b = y - H(x^b)$ and $d^a = y - H(x^a)$, with the ensemble means of H(E).
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from scoreda.datasets import observations
from scoreda.observations import ErrorModel, MovingSites, Operator
from scoreda.verification.verify import check_burn_in

__all__ = ["Departures", "departures", "desroziers"]


def desroziers(d_b: ArrayLike, d_a: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the diagnosed covariances of the observation errors and of the forecast errors at the observations.

    $$ R = \langle d^a (d^b)^\top \rangle, \quad H B H^\top = \langle (d^b - d^a) (d^b)^\top \rangle $$

    Exact in expectation for a linear update with the gain that belongs to the true B and R; with another gain the sum
    of the two is still the covariance of the innovations. Both are symmetric in expectation only.

    Args:
        d_b: Departures of the forecast, `(samples, Ny)`.
        d_a: Departures of the analysis, `(samples, Ny)`.

    Returns:
        `R` and `HBH`, both `(Ny, Ny)`; samples with a NaN are left out.

    Source: Desroziers et al. (2005), equations 1 to 3, https://doi.org/10.1256/qj.05.108
    """
    d_b, d_a = (np.asarray(d, dtype=np.float64) for d in (d_b, d_a))
    known = ~np.isnan(d_b + d_a).any(-1)
    d_b, d_a = d_b[known], d_a[known]
    with np.errstate(invalid="ignore", divide="ignore"):
        return d_a.T @ d_b / np.float64(len(d_b)), (d_b - d_a).T @ d_b / np.float64(len(d_b))


class Departures(NamedTuple):
    """Departures of a run, NaN where nothing is observed.

    Attributes:
        forecast: $d^b$, `(time, Ny)`.
        analysis: $d^a$, `(time, Ny)`.
        error: Error model that the method assumed.
    """

    forecast: np.ndarray
    analysis: np.ndarray
    error: ErrorModel

    def error_ratio(self) -> float:
        """Return the diagnosed over the assumed variance of the observation errors, over all values; NaN if none."""
        diagnosed = self.analysis * self.forecast
        assumed = np.where(np.isnan(diagnosed), np.nan, self.error.variance)
        total = np.nansum(assumed)
        return float(np.nansum(diagnosed) / total) if total > 0 else float("nan")


def departures(
    run: xr.Dataset,
    error: ErrorModel | None = None,
    burn_in: int = 0,
    operator: Operator | MovingSites | None = None,
) -> Departures:
    """Return the departures of every cycle of a run from `burn_in` on.

    Args:
        run: As from `assimilate`, with `prior`, `analysis` and `obs`.
        error: What the method assumed, where that is not in the attributes.
        burn_in: First cycles left out.
        operator: In place of the one in the attributes; needed where that was a user's callable.

    Raises:
        ScoredaError: if the operator cannot be rebuilt from the attributes, or `burn_in` leaves no cycle.
    """
    check_burn_in(run, burn_in)
    batches = list(observations(run, operator, error))[burn_in:]
    ensembles = zip(run["prior"].values[burn_in:], run["analysis"].values[burn_in:], strict=True)
    rows = [
        [obs.values - obs.operator(E.astype(np.float64)).mean(0) for E in pair]
        for obs, pair in zip(batches, ensembles, strict=True)
    ]
    forecast, analysis = np.swapaxes(rows, 0, 1)
    return Departures(forecast, analysis, batches[0].error)
