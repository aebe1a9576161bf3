"""Energy over wavenumbers and frequencies, and correlations over lags, of generated fields beside true ones."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from scoreda.plotting.fields import colour_bar, colour_mesh
from scoreda.plotting.style import GREY, legend_above, line_look, new_axes, plain_log, tidy

__all__ = ["correlation", "correlation_map", "frequency_wavenumber", "spectrum_band"]

WAVENUMBER = "wavenumber (waves per domain)"


def spectrum_band(
    k: ArrayLike,
    spectra: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    *,
    level: float = 0.9,
    units: str = "model units",
    k_label: str = WAVENUMBER,
) -> Axes:
    """Draw the mean energy in each wavenumber, with a band that holds the energy of most single samples.

    Args:
        k: Wavenumbers, `(K,)`.
        spectra: Name and energies `(samples, K)` of each set, as from `verification.fields.wavenumber_spectrum` or
            `isotropic_spectrum`; the first is the reference, drawn in grey.
        ax: Where to draw; a new figure if None.
        level: Share of the samples inside the band.
        units: Units of the fields.
        k_label: Name and units of `k`.
    """
    ax = new_axes(ax, width=4.8)
    for index, (name, samples) in enumerate(spectra.items()):
        look, energies = line_look(index), np.asarray(samples)
        ax.plot(k, energies.mean(0), label=name, **look)
        low, high = np.quantile(energies, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        ax.fill_between(k, low, high, color=look["color"], alpha=0.18, linewidth=0)
    plain_log(ax)
    ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    ax.set_xlabel(k_label)
    ax.set_ylabel(f"energy ({units})²")
    legend_above(ax)
    return tidy(ax)


def frequency_wavenumber(
    omega: ArrayLike,
    k: ArrayLike,
    energy: ArrayLike,
    ax: Axes | None = None,
    *,
    title: str = "",
    limits: tuple[float, float] | None = None,
    units: str = "model units",
    omega_label: str = "angular frequency (rad / MTU)",
    k_label: str = WAVENUMBER,
) -> Axes:
    """Draw the energy over wavenumber (to the right) and frequency (upwards), decades as colours.

    Waves right of the line at zero travel to larger x, waves left of it to smaller x.

    Args:
        omega: Frequencies, `(F,)`.
        k: Wavenumbers of both signs, `(K,)`.
        energy: `(F, K)`; the three as from `verification.fields.frequency_wavenumber_spectrum`.
        ax: Where to draw; a new figure if None.
        title: Short title.
        limits: Energies of the first and the last colour; from the largest down four decades if None.
        units: Units of the fields.
        omega_label: Name and units of `omega`.
        k_label: Name and units of `k`.
    """
    ax = new_axes(ax, width=4.8, height=3.6)
    energy = np.asarray(energy, dtype=np.float64)
    low, high = limits or (1e-4 * energy.max(), energy.max())
    decades = np.log10(np.maximum(energy, np.finfo(float).tiny))
    mesh = colour_mesh(ax, k, omega, decades, (np.log10(low), np.log10(high)))
    colour_bar(mesh, ax, decades, rf"$\log_{{10}}$ energy ({units})²")
    ax.axvline(0, color="white", linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_xlabel(k_label)
    ax.set_ylabel(omega_label)
    ax.set_title(title, loc="left")
    return ax


def correlation(
    correlations: Mapping[str, ArrayLike],
    ax: Axes | None = None,
    *,
    spacing: float = 1.0,
    label: str = "distance (grid intervals)",
) -> Axes:
    """Draw correlations over the lag, in space or in time.

    Args:
        correlations: Name and correlations at lags 0, 1, ... `(lags,)` of each set, as from
            `verification.fields.two_point_correlation` or `autocorrelation`; the first is the reference, drawn in grey.
        ax: Where to draw; a new figure if None.
        spacing: Between lags.
        label: Name and units of the lag.
    """
    ax = new_axes(ax, width=4.4)
    for index, (name, values) in enumerate(correlations.items()):
        values = np.asarray(values)
        ax.plot(spacing * np.arange(values.size), values, label=name, **line_look(index))
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_xlabel(label)
    ax.set_ylabel("correlation")
    legend_above(ax)
    return tidy(ax)


def correlation_map(
    lags: ArrayLike,
    values: ArrayLike,
    ax: Axes | None = None,
    *,
    title: str = "",
    dt: float = 1.0,
    time_label: str = "lag (output steps)",
    space_label: str = "distance (grid intervals)",
) -> Axes:
    """Draw correlations over the lag in time (to the right) and the distance (upwards), from -1 (blue) to 1 (red).

    Args:
        lags: Distances, `(Nx,)`.
        values: `(lags in time, Nx)`; both as from `verification.fields.space_time_correlation`.
        ax: Where to draw; a new figure if None.
        title: Short title.
        dt: Between lags in time.
        time_label: Name and units of the lag in time.
        space_label: Name and units of the distance.
    """
    ax = new_axes(ax, width=4.8)
    values = np.asarray(values)
    mesh = colour_mesh(ax, dt * np.arange(len(values)), lags, values.T, (-1.0, 1.0), centred=True)
    colour_bar(mesh, ax, values, "correlation")
    ax.set_xlabel(time_label)
    ax.set_ylabel(space_label)
    ax.set_title(title, loc="left")
    return ax
