"""Scores of analyses and forecasts: array cores and an xarray face (`verify`).

Array cores: `arrays` (error, spread, ranks), `proper_scores`, `calibration`, `spectra`, `innovations`, `time_means`
(standard errors of correlated series) and `tracking`. Of generated fields: their statistics (`fields`) and the
`distances` between two samples.
"""

from scoreda.verification import arrays, calibration, distances, fields, innovations, proper_scores, spectra, time_means
from scoreda.verification.floor import kalman_floor
from scoreda.verification.verify import distributions, rank_counts, spread_skill_of, summary, verify
from scoreda.verification.window_posterior import WindowPosterior, window_posterior

__all__ = [
    "WindowPosterior",
    "arrays",
    "calibration",
    "distances",
    "distributions",
    "fields",
    "innovations",
    "kalman_floor",
    "proper_scores",
    "rank_counts",
    "spectra",
    "spread_skill_of",
    "summary",
    "time_means",
    "verify",
    "window_posterior",
]
