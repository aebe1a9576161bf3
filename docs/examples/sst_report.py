"""The table and the figures of the sea-surface temperature example."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from scoreda.experiments.folder import write_text
from scoreda.experiments.report_html import Html, element, figure, page
from scoreda.plotting import hovmoeller, map2d

COLUMNS = {
    "method": "method", "members": "members", "rmse": "RMSE (K)", "crps": "CRPS (K)", "spread": "spread (K)",
    "coverage90": "coverage of 90 %",
}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return one row a method, ready to show: means over the draws, with the standard error of RMSE and CRPS."""
    names = dict.fromkeys(row["method"] for row in rows)
    return [_shown([row for row in rows if row["method"] == name]) for name in names]


def _shown(rows: list[dict[str, Any]]) -> dict[str, str]:
    values = {key: np.array([row[key] for row in rows]) for key in ("rmse", "crps", "spread", "coverage90")}
    cells = {key: f"{x.mean():.3f}" for key, x in values.items()}
    if len(rows) > 1:
        cells |= {key: f"{cells[key]} ± {values[key].std(ddof=1) / len(rows) ** 0.5:.3f}" for key in ("rmse", "crps")}
    return {"method": rows[0]["method"], "members": str(rows[0]["members"])} | cells


def markdown(shown: list[dict[str, str]]) -> str:
    """Return the table as Markdown."""
    lines = [list(COLUMNS.values()), ["---"] * len(COLUMNS), *([row[name] for name in COLUMNS] for row in shown)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def maps(field: xr.DataArray, obs: np.ndarray, means: Mapping[str, np.ndarray]) -> Figure:
    """Draw one month: truth, what was observed of it, and analysis and error of each of `means`.

    Args:
        field: `(longitude, latitude)`.
        obs: `(Nx,)`, NaN where not observed.
        means: Name and ensemble mean `(Nx,)` of each method.
    """
    bound = float(np.abs(field).max())
    fig = Figure(figsize=(10, 1.6 * (1 + len(means))), layout="constrained")
    axes = fig.subplots(1 + len(means), 2)
    look: dict[str, Any] = dict(centred=True, limits=(-bound, bound))
    map2d(field.T, axes[0, 0], title="truth", **look)
    map2d(field.copy(data=obs.reshape(field.shape)).T, axes[0, 1], title="observed", **look)
    for (name, mean), (left, right) in zip(means.items(), axes[1:], strict=True):
        analysis = field.copy(data=mean.reshape(field.shape)).T
        map2d(analysis, left, title=name, **look)
        map2d(
            (analysis - field.T).assign_attrs(field.attrs), right, title=f"{name}: error", centred=True, limits=(-1, 1)
        )
    for ax in axes[:-1].ravel():
        ax.set_xlabel("")
    return fig


def hovmoellers(field: xr.DataArray, means: Mapping[str, np.ndarray]) -> Figure:
    """Draw the withheld months along the equator: truth, and error of each of `means`.

    Args:
        field: `(time, longitude, latitude)`.
        means: Name and ensemble means `(time, Nx)` of each method.
    """
    along = dict(latitude=int(np.abs(field["latitude"].values).argmin()))
    truth = field.isel(along, drop=True)
    fig = Figure(figsize=(8, 2.3 * (1 + len(means))), layout="constrained")
    axes = fig.subplots(1 + len(means), 1, sharex=True)
    bound = float(np.abs(truth).max())
    hovmoeller(truth, axes[0], title="truth along the equator", centred=True, limits=(-bound, bound))
    for (name, mean), ax in zip(means.items(), axes[1:], strict=True):
        error = (field.copy(data=mean.reshape(field.shape)) - field).isel(along, drop=True)
        hovmoeller(error.assign_attrs(field.attrs), ax, title=f"{name}: error", centred=True, limits=(-1, 1))
    for ax in axes:
        ax.label_outer()
    return fig


def write_page(path: Path, about: str, shown: list[dict[str, str]], figures: Mapping[str, Figure]) -> None:
    """Write one page that needs no other file: what was done, the table, every figure under its caption."""
    head = element("tr", *(element("th", name) for name in COLUMNS.values()))
    body = [element("tr", *(element("td", row[name]) for name in COLUMNS)) for row in shown]
    title = "Sea-surface temperature"
    parts = [element("h1", title), *(element("p", text) for text in about.split("\n\n"))]
    parts += [element("table", Html(head), *body), *(figure(fig, caption) for caption, fig in figures.items())]
    write_text(path, page(f"scoreda: {title}", element("main", *parts)))
