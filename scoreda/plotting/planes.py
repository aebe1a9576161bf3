"""Pictures over two coordinates: scores, samples over densities, and images side by side."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from scoreda.errors import ScoredaError
from scoreda.plotting.style import colour, legend_above, new_axes, tidy

__all__ = ["image_grid", "scatter_over_density", "score_quiver"]

Limits = tuple[float, float, float, float]
Function = Callable[[np.ndarray], ArrayLike]
MASSES = (0.99, 0.9, 0.7, 0.4)  # probability inside each contour, from the outermost
GRID = 200  # points along each axis for contours


def score_quiver(
    score: Function,
    limits: Limits,
    ax: Axes | None = None,
    *,
    density: Function | None = None,
    points: int = 17,
    title: str = "",
) -> Axes:
    """Draw a score as arrows: their direction, and as colours its size, which only short arrows show as well.

    Args:
        score: From points `(n, 2)` to the gradient of ln p there, `(n, 2)`.
        limits: Left, right, bottom and top.
        ax: Where to draw; a new figure if None.
        density: From points `(n, 2)` to p, `(n,)`; drawn as grey areas below the arrows if given.
        points: Arrows along each axis.
        title: Short title.
    """
    ax = new_axes(ax, width=4.6, height=3.8)
    if density is not None:
        _shade(ax, density, limits)
    x, y = _grid(limits, points)
    u, v = np.asarray(score(np.stack([x.ravel(), y.ravel()], axis=1))).T.reshape(2, points, points)
    size = np.hypot(u, v)
    length = size + 0.2 * np.median(size) + np.finfo(float).tiny  # only small scores have shorter arrows
    look: dict[str, Any] = dict(pivot="mid", scale=1.1 * points, width=0.005, headwidth=3.5, headlength=4)
    arrows = ax.quiver(x, y, u / length, v / length, size, cmap="viridis", **look)
    arrows.set_clim(0, np.quantile(size, 0.98))
    bar = ax.figure.colorbar(arrows, ax=ax, pad=0.02, aspect=16, extend="max")
    bar.outline.set_visible(False)
    bar.set_label(r"size of the score $|\nabla \ln p|$")
    return _frame(ax, limits, title)


def scatter_over_density(
    samples: Mapping[str, ArrayLike],
    limits: Limits,
    ax: Axes | None = None,
    *,
    density: Function | None = None,
    title: str = "",
) -> Axes:
    """Draw samples as points over grey areas that hold 40, 70, 90 and 99 % of a density.

    Args:
        samples: Name and points `(n, 2)` of each set.
        limits: Left, right, bottom and top; they should hold nearly all of the density.
        ax: Where to draw; a new figure if None.
        density: From points `(n, 2)` to p, `(n,)`, normalised or not.
        title: Short title.
    """
    ax = new_axes(ax, width=4.0, height=4.0)
    if density is not None:
        _shade(ax, density, limits)
    for k, (name, points) in enumerate(samples.items()):
        x, y = np.asarray(points).T
        ax.scatter(x, y, s=5, color=colour(k), alpha=0.5, linewidths=0)
        ax.scatter([], [], s=20, color=colour(k), label=name)  # what the legend shows, larger and opaque
    legend_above(ax)
    return _frame(ax, limits, title)


def image_grid(
    images: ArrayLike,
    ax: Axes | None = None,
    *,
    columns: int = 10,
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> Axes:
    """Draw images in rows on one axes, low values white.

    Args:
        images: `(n, height, width)`.
        ax: Where to draw; a new figure if None.
        columns: Images in a row.
        limits: Values of white and black; from the images if None.
        title: Short title.

    Raises:
        ScoredaError: if `images` does not have three dimensions.
    """
    images = np.asarray(images, dtype=np.float64)
    if images.ndim != 3:
        raise ScoredaError(f"`images` must have shape (n, height, width), got {images.shape}. Take one channel.")
    number, height, width = images.shape
    columns = min(columns, number)
    rows = -(-number // columns)
    tiles = np.full((rows * columns, height + 1, width + 1), np.nan)  # NaN: the white lines between images
    tiles[:number, :height, :width] = images
    sheet = tiles.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2).reshape(rows * (height + 1), -1)
    ax = new_axes(ax, width=0.55 * columns + 0.2, height=0.55 * rows * height / width + 0.2)
    low, high = limits or (np.nanmin(images), np.nanmax(images))
    ax.imshow(sheet[:-1, :-1], cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(title, loc="left")
    return ax


def _grid(limits: Limits, points: int) -> tuple[np.ndarray, ...]:
    return tuple(np.meshgrid(np.linspace(*limits[:2], points), np.linspace(*limits[2:], points)))


def _shade(ax: Axes, density: Function, limits: Limits) -> None:
    """Fill the smallest areas that hold each of `MASSES`, the inner ones darker."""
    x, y = _grid(limits, GRID)
    p = np.asarray(density(np.stack([x.ravel(), y.ravel()], axis=1)))
    ordered = np.sort(p)[::-1]
    inside = np.searchsorted(np.cumsum(ordered) / ordered.sum(), MASSES)
    greys = [str(0.94 - 0.09 * k) for k in range(len(MASSES))]
    ax.contourf(x, y, p.reshape(x.shape), levels=[*ordered[inside], np.inf], colors=greys)


def _frame(ax: Axes, limits: Limits, title: str) -> Axes:
    ax.set(xlim=limits[:2], ylim=limits[2:], xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    ax.set_title(title, loc="right")
    return tidy(ax, grid="")
