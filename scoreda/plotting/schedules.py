"""Noise schedules over diffusion time."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from scoreda.plotting.style import COLOURS, GREY, colour, legend_above, new_axes, plain_log, tidy

__all__ = ["log_snr", "noise_schedule"]

HIGHEST_LINEAR = 5.0  # noise beyond this hides the signal's scale on a linear axis
DIFFUSION_TIME = "diffusion time $t$"


def noise_schedule(
    t: ArrayLike, alpha: ArrayLike, sigma: ArrayLike, ax: Axes | None = None, *, title: str = ""
) -> Axes:
    """Draw the signal's scale and the noise of a schedule; on a logarithmic axis where the noise is large.

    Args:
        t: Diffusion times, `(T,)`, 0 clean and 1 noise.
        alpha: Signal scale at `t`, `(T,)`.
        sigma: Noise standard deviation at `t`, `(T,)`.
        ax: Where to draw; a new figure if None.
        title: Short title.
    """
    ax = new_axes(ax, width=4.4)
    for k, (name, values) in enumerate({r"signal $\alpha_t$": alpha, r"noise $\sigma_t$": sigma}.items()):
        ax.plot(t, values, color=COLOURS[k], linewidth=1.6, linestyle=("-", (0, (4, 2)))[k], label=name)
    if np.asarray(sigma).max() > HIGHEST_LINEAR:
        plain_log(ax)
    ax.set_xlabel(DIFFUSION_TIME)
    ax.set_ylabel("scale (normalised units)")
    ax.set_title(title, loc="right")
    legend_above(ax)
    return tidy(ax)


def log_snr(schedules: Mapping[str, tuple[ArrayLike, ArrayLike]], ax: Axes | None = None) -> Axes:
    """Draw the log signal-to-noise ratio of one or more schedules; above the line at 0 the signal is the stronger.

    Args:
        schedules: Name, and diffusion times and log-SNR `(T,)`, of each.
        ax: Where to draw; a new figure if None.
    """
    ax = new_axes(ax, width=4.4)
    for k, (name, (t, values)) in enumerate(schedules.items()):
        ax.plot(t, values, color=colour(k), linewidth=1.6, label=name)
    ax.axhline(0, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_xlabel(DIFFUSION_TIME)
    ax.set_ylabel(r"log-SNR $\ln(\alpha_t^2 / \sigma_t^2)$")
    legend_above(ax)
    return tidy(ax)
