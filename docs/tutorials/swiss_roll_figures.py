"""The figures of the Swiss roll."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from swiss_roll_law import Posterior, Roll
from torch import Tensor

from scoreda.diffusion import Denoiser, score
from scoreda.plotting import scatter_over_density, score_quiver

__all__ = ["posterior_figure", "samples_figure", "score_figure"]

LIMITS = (-2.0, 2.2, -2.3, 2.0)
SHOWN = (
    "exact posterior", "twisted_smc", "moment_matching", "fi6", "constant_derivative",
    "prior", "jfps", "pigdm", "sda, fine", "dps, fine",
)  # fmt: skip


def score_figure(roll: Roll, network: Denoiser, sigmas: tuple[float, ...]) -> Figure:
    """Draw the exact score (above) and the network's (below) at noise levels of VE, over the noisy density."""
    exact = roll.denoiser(network.schedule)
    figure = Figure(figsize=(3.8 * len(sigmas), 6), layout="constrained")
    for row, (name, denoiser) in zip(
        figure.subplots(2, len(sigmas)), {"exact": exact, "network": network}.items(), strict=True
    ):
        for ax, sigma in zip(row, sigmas, strict=True):
            t = network.schedule.time(sigma)
            score_quiver(
                on_points(lambda x, d=denoiser, t=t: score(d, x, t)), LIMITS, ax,
                density=on_points(lambda x, t=t: exact.log_prob(x, t).exp()), title=f"{name}, sigma = {sigma:g}",
            )  # fmt: skip
    return figure


def samples_figure(prior: Posterior, rows: Sequence[Mapping[str, Any]], draws: Sequence[Tensor]) -> Figure:
    """Draw the samples of every way to draw from the prior over the roll's own density."""
    figure = Figure(figsize=(3 * len(draws) // 2, 6.6), layout="constrained")
    axes = figure.subplots(2, len(draws) // 2).T.ravel()
    for ax, row, x in zip(axes, rows, draws, strict=True):
        name, start = row["sampler"].split(",")
        panel(ax, x, prior.density, f"{row['denoiser']}, {row['schedule']}\n{name},{start}")
    return figure


def posterior_figure(posterior: Posterior, drawn: Mapping[str, Tensor]) -> Figure:
    """Draw what the methods drew with the exact denoiser over the exact posterior."""
    shown = {name: x for name, x in drawn.items() if name in SHOWN}
    figure = Figure(figsize=(14, 6.2), layout="constrained")
    for ax, name in zip(figure.subplots(2, 5).ravel(), sorted(shown, key=SHOWN.index), strict=False):
        panel(ax, shown[name], posterior.density, name)
    return figure


def panel(ax: Any, x: Tensor, density: Any, title: str) -> None:
    """Draw one set of points; those outside the picture are left out."""
    scatter_over_density({"samples": x.numpy()}, LIMITS, ax, density=density)
    ax.get_legend().remove()
    ax.set_title(title, loc="left", fontsize="medium")


def on_points(function: Any) -> Any:
    """Return a function of tensors as one of arrays `(n, 2)`, without gradients."""

    def call(points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(function(torch.as_tensor(points, dtype=torch.float32)))

    return call
