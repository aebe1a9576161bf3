"""The figures of the Lorenz96 windows."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scoreda.plotting import frequency_wavenumber, hovmoeller_panels, marginal, spectrum_band
from scoreda.plotting.fields import colour_bar, colour_mesh

Plane = tuple[np.ndarray, np.ndarray, np.ndarray]
BOUND, ERRORS = 12.0, 6.0  # of the colours, for states and for errors
DT = 0.2


def statistics_figure(
    windows: Mapping[str, np.ndarray],
    wavenumbers: Mapping[str, np.ndarray],
    omega: np.ndarray,
    frequencies: Mapping[str, np.ndarray],
) -> Figure:
    """Draw densities of single values and spectra over wavenumber and frequency; the first set is the truth.

    Its band holds 90 % of single windows.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    marginal(windows, left, label="x (model units)")
    spectrum_band(np.arange(17), _band_of_first(wavenumbers), middle)
    spectrum_band(omega, _band_of_first(frequencies), right, k_label="angular frequency (rad / MTU)")
    for ax in (left, middle, right):
        ax.get_legend().remove()
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(labels), loc="outside upper left", frameon=False)
    return figure


def _band_of_first(spectra: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the spectra of all windows of the first set, and the mean of every other, whose band has no width."""
    first = next(iter(spectra))
    return {name: e if name == first else e.mean(axis=0, keepdims=True) for name, e in spectra.items()}


def plane_figure(planes: Mapping[str, Plane]) -> Figure:
    """Draw frequency-wavenumber spectra on one scale of colours, that of the first."""
    figure = Figure(figsize=(3.8 * len(planes), 3.2), layout="constrained")
    top = float(next(iter(planes.values()))[2].max())
    for ax, (name, (omega, k, energy)) in zip(
        figure.subplots(1, len(planes), sharey=True), planes.items(), strict=True
    ):
        frequency_wavenumber(omega, k, energy, ax, title=name, limits=(1e-4 * top, top))
        ax.label_outer()
    return figure


def reverse_figure(states: Mapping[str, np.ndarray]) -> Figure:
    """Draw a window on the way from noise to a sample."""
    return hovmoeller_panels(states, dt=DT, limits=(-BOUND, BOUND), label="x (model units)")


def conditional_figure(
    truth: np.ndarray, shown: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]], systems: tuple[str, str]
) -> Figure:
    """Draw one window in every case: truth, observations, a sample and the error of the mean of both systems.

    Args:
        truth: `(time, space)`.
        shown: Observations `(time, space)` and ensemble `(members, time, space)` by case and system.
        systems: The two to draw.
    """
    cases = list(dict.fromkeys(case for case, _ in shown))
    figure = Figure(figsize=(11, 1.7 * len(cases) + 0.6), layout="constrained")
    axes = figure.subplots(len(cases), 6, sharex=True, sharey=True)
    for row, case in zip(axes, cases, strict=True):
        (y, first), (_, second) = (shown[case, name] for name in systems)
        states = {"truth": truth, "observed": y} | {
            f"{name}: sample": E[0] for name, E in zip(systems, (first, second), strict=True)
        }
        errors = {f"{name}: error of mean": E.mean(0) - truth for name, E in zip(systems, (first, second), strict=True)}
        _draw(row[:4], states, BOUND, "viridis")
        _draw(row[4:], errors, ERRORS, "errors")
        row[0].set_ylabel(f"{case}\nsite")
        if case != cases[0]:
            for ax in row:
                ax.set_title("")
    figure.supxlabel("time (MTU)", fontsize="medium")
    return figure


def _draw(axes: np.ndarray, fields: Mapping[str, np.ndarray], bound: float, kind: str) -> None:
    """Draw fields on one scale, a colour bar behind the last."""
    mesh, ax = None, axes[0]
    for ax, (title, field) in zip(axes, fields.items(), strict=True):
        mesh = _mesh(ax, field, bound, kind == "errors")
        ax.set_title(title, fontsize="small")
    values = np.concatenate([field.ravel() for field in fields.values()])
    colour_bar(mesh, ax, values, "error" if kind == "errors" else "x")


def _mesh(ax: Axes, field: np.ndarray, bound: float, centred: bool) -> object:
    time, site = DT * np.arange(len(field)), np.arange(field.shape[1])
    return colour_mesh(ax, time, site, field.T, (-bound, bound), centred)
