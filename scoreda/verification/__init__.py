"""Scores of analyses and forecasts: an array core (`arrays`) and an xarray face (`verify`)."""

from scoreda.verification import arrays
from scoreda.verification.verify import rank_counts, summary, verify

__all__ = ["arrays", "rank_counts", "summary", "verify"]
