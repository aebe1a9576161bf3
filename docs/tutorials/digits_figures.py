"""The figures of the digits."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from scoreda.plotting import image_grid

EPOCHS = (1, 2, 4, 8, 15, 30, 60, 120)


def rows_figure(images: Mapping[str, np.ndarray]) -> Figure:
    """Draw sets of images `(n, row, column)`, one row each, named at the left."""
    figure = Figure(figsize=(9, 0.48 * len(images) + 0.1), layout="constrained")
    for ax, (name, row) in zip(figure.subplots(len(images), 1, squeeze=False)[:, 0], images.items(), strict=True):
        image_grid(row, ax, columns=len(row), limits=(-1, 1))
        ax.text(-0.02, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize="small")
    return figure


def preview_figure(previews: Mapping[int, np.ndarray]) -> Figure:
    """Draw the previews `(n, row, column)` of some epochs, and of the last."""
    return rows_figure({f"epoch {k}": row for k, row in previews.items() if k in (*EPOCHS, max(previews))})
