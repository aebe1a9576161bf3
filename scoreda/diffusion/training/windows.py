"""Windows of time: successive states as the channels of one sample."""

import numpy as np

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
    stride = frames if stride is None else stride
    if min(frames, stride) < 1:
        raise ValueError(f"`frames` and `stride` must be at least 1, got {frames} and {stride}.")
    if states.shape[1] < frames:
        raise ValueError(
            f"a window of {frames} frames does not fit into trajectories of {states.shape[1]} states. "
            "Keep more states of each, or pass fewer frames."
        )
    views = np.lib.stride_tricks.sliding_window_view(states, frames, axis=1)  # (n, starts, *space, frames)
    return np.moveaxis(views[:, ::stride], -1, 2)
