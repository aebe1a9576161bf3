"""Scores of analyses and forecasts: an array core (`arrays`) and an xarray face (`verify`).

Of generated fields: their statistics (`fields`) and the `distances` between two samples.
"""

from scoreda.verification import arrays, distances, fields
from scoreda.verification.verify import rank_counts, summary, verify

__all__ = ["arrays", "distances", "fields", "rank_counts", "summary", "verify"]
