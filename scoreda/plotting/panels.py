"""States on the way from noise to data: panels along diffusion time, and moving pictures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from scoreda.errors import ScoredaError
from scoreda.plotting.diffusion import histogram
from scoreda.plotting.fields import colour_bar, colour_mesh
from scoreda.plotting.style import COLOURS, tidy

__all__ = ["histogram_panels", "hovmoeller_panels", "save_gif"]

Frame = TypeVar("Frame")


def histogram_panels(
    times: Sequence[float],
    forward: Sequence[ArrayLike],
    backward: Sequence[ArrayLike],
    limits: tuple[float, float],
    *,
    densities: Sequence[Callable[[np.ndarray], ArrayLike]] = (),
    bins: int = 60,
    label: str = "$x_t$",
) -> Figure:
    """Draw histograms at the same diffusion times: of noised data (above), of the reverse run (below).

    Args:
        times: Diffusion times, one column each.
        forward: Values at each time, noised data.
        backward: Values at each time, on the way from noise to samples.
        limits: Of the values.
        densities: The exact density at each time, as a function of values; drawn on both rows where given.
        bins: Histogram bins within `limits`.
        label: Name and units of the values.
    """
    figure = Figure(figsize=(1.6 * len(times) + 0.6, 3.6), layout="constrained")
    axes = figure.subplots(2, len(times), sharex=True, sharey="col", squeeze=False)
    x = np.linspace(*limits, 400)
    for row, name, states in ((0, "forward", forward), (1, "backward", backward)):
        for column, (ax, values) in enumerate(zip(axes[row], states, strict=True)):
            histogram(ax, values, x, bins)
            if densities:
                ax.plot(x, densities[column](x), color=COLOURS[0], linewidth=1.2)
            ax.set_yticks([])
            ax.set_ylim(bottom=0)
            tidy(ax, grid="")
        axes[row, 0].set_ylabel(f"{name}\ndensity")
    for ax, t in zip(axes[0], times, strict=True):
        ax.set_title(f"$t$ = {t:.3g}", fontsize="medium")
    axes[0, 0].set_xlim(limits)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    figure.supxlabel(label, fontsize="medium")
    return figure


def hovmoeller_panels(
    states: Mapping[str, ArrayLike],
    *,
    columns: int = 6,
    dt: float = 1.0,
    limits: tuple[float, float] | None = None,
    time_label: str = "time (MTU)",
    label: str = "",
) -> Figure:
    """Draw windows along diffusion time side by side, model time to the right and space upwards, on one scale.

    Args:
        states: Title and window `(time, Nx)` of each panel, in reading order.
        columns: Panels in a row.
        dt: Model time between rows of a window.
        limits: Values of the first and the last colour; those of the last window if None.
        time_label: Name and units of model time.
        label: Name and units of the values.
    """
    windows = {title: np.asarray(window, dtype=np.float64) for title, window in states.items()}
    last = list(windows.values())[-1]
    limits = limits or (float(np.nanmin(last)), float(np.nanmax(last)))
    figure, axes = _panels(len(windows), columns)
    for ax, (title, window) in zip(axes, windows.items(), strict=False):
        time, space = (np.arange(n) for n in window.shape)
        mesh = colour_mesh(ax, dt * time, space, window.T, limits)
        ax.set_title(title, fontsize="medium")
    colour_bar(mesh, axes, np.concatenate([window.ravel() for window in windows.values()]), label)
    figure.supxlabel(time_label, fontsize="medium")
    figure.supylabel("space", fontsize="medium")
    return figure


def save_gif(
    path: Path | str,
    frames: Iterable[Frame],
    draw: Callable[[Axes, Frame], Any],
    *,
    fps: int = 10,
    size: tuple[float, float] = (4.8, 3.6),
) -> Path:
    """Write a moving picture, such as a reverse run; the last frame stays for a second.

    Args:
        path: Of the GIF file, replaced if it exists; its folder must exist.
        frames: One thing to draw per frame.
        draw: `draw(ax, frame)`; the axes are new in each frame, so set their limits.
        fps: Frames per second.
        size: Of the picture, inches at 100 dots per inch.

    Raises:
        ScoredaError: if there are no frames.
    """
    from matplotlib.animation import PillowWriter

    frames = list(frames)
    if not frames:
        raise ScoredaError("`frames` must hold at least one state, got none. Pass list(sampler.path(x)).")
    figure, writer = Figure(figsize=size, layout="constrained"), PillowWriter(fps)
    with writer.saving(figure, str(path), dpi=100):
        for frame in [*frames, *[frames[-1]] * fps]:
            figure.clear()
            draw(figure.subplots(), frame)
            writer.grab_frame()
    return Path(path)


def _panels(number: int, columns: int) -> tuple[Figure, list[Axes]]:
    """Return a figure and the axes of `number` panels in reading order; what is left of the last row stays empty."""
    columns = min(columns, number)
    rows = -(-number // columns)
    figure = Figure(figsize=(1.5 * columns + 1.0, 1.6 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax in axes[number:]:
        ax.remove()
    for ax in axes[number - columns : number]:
        ax.tick_params(labelbottom=True)
    return figure, list(axes[:number])
