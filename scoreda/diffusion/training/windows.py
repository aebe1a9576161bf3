"""Windows of time: successive states as the channels of one sample."""

import numpy as np

from scoreda.datasets.field_samples import window_starts

__all__ = ["windows"]


def windows(states: np.ndarray, frames: int, stride: int | None = None) -> np.ndarray:
    """Cut windows out of trajectories; time becomes the channels of a sample.

    Args:
        states: Trajectories, shape `(n, time, *space)`.
        frames: States in a window.
        stride: States between the starts of windows; default `frames`, so that none overlap.

    Returns: Shape `(n, windows, frames, *space)`. A view of `states` where windows overlap, so copying it takes
        `frames / stride` times the memory.

    Raises:
        ValueError: if a trajectory is shorter than one window, or a number is below 1.
    """
    starts = window_starts(states.shape[1], frames, stride)
    views = np.lib.stride_tricks.sliding_window_view(states, frames, axis=1)  # (n, starts, *space, frames)
    return np.moveaxis(views[:, :: starts.step], -1, 2)
