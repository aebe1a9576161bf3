"""Settings that make sense, or an error that says what does."""

import math

__all__ = ["checked_count", "checked_positive"]


def checked_positive(name: str, value: float) -> float:
    """Return a setting; ValueError if it is not positive and finite."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` must be positive, got {value}.")
    return float(value)


def checked_count(name: str, value: int, least: int = 1) -> int:
    """Return a setting; ValueError if it is not a whole number from `least` on."""
    if not math.isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"`{name}` must be a whole number from {least} on, got {value}.")
    return int(value)
