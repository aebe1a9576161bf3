"""How well a filter does while it tracks the truth, and how often it does not: never only a mean."""

import numpy as np

__all__ = ["LOCKED_FOR", "locked_cycles", "tracking"]

LOCKED_FOR = 20  # cycles in a row below the level that make a filter locked


def locked_cycles(rmse: np.ndarray, level: float) -> np.ndarray:
    """Return which cycles `(time,)` belong to `LOCKED_FOR` or more in a row with an RMSE below twice `level`."""
    locked = np.zeros(len(rmse), dtype=bool)
    for start, end in _spells(rmse < 2 * level):
        locked[start:end] = end - start >= LOCKED_FOR
    return locked


def tracking(rmse: np.ndarray, level: float, burn_in: int = 0) -> dict[str, float]:
    """Return what happens while a filter is locked, how often it is lost, and how long it takes to come back.

    Args:
        rmse: Of the analysis, one per cycle `(time,)`; NaN once the run has diverged, which counts as lost.
        level: RMSE of the case while tracking; a filter is locked below twice that for `LOCKED_FOR` cycles.
        burn_in: First cycles that do not count.

    Returns:
        `rmse_locked`, the mean over locked cycles (NaN if there are none); `lost_fraction`, the share of cycles that
        are not; `relock_cycles`, the mean length of the spells between losing the truth and locking on again (NaN if
        there are none).
    """
    locked = locked_cycles(rmse, level)
    counted = locked[burn_in:]
    lost = [end - start for start, end in _spells(~locked) if burn_in < start and end < len(rmse)]
    return {
        "rmse_locked": float(rmse[burn_in:][counted].mean()) if counted.any() else np.nan,
        "lost_fraction": float(1 - counted.mean()),
        "relock_cycles": float(np.mean(lost)) if lost else np.nan,
    }


def _spells(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return start and end of every run of True."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
