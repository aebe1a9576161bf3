"""One function, one axes: each takes data and `ax=None`, and returns the Axes; nothing is shown or saved.

Functions called `..._panels` make a figure of their own and return it; `save_gif` writes a file.

ax = series(run)
ax.figure.savefig("series.png")
"""

from scoreda.plotting.calibration import error_spectra, spread_skill_curves
from scoreda.plotting.comparisons import acquisition, level_dots, ranked, trade_off
from scoreda.plotting.curves import loss_curve, series
from scoreda.plotting.diffusion import marginal_and_potential, potentials, sample_paths
from scoreda.plotting.distributions import marginal, rank_histogram, spectrum
from scoreda.plotting.fields import hovmoeller, map2d
from scoreda.plotting.panels import histogram_panels, hovmoeller_panels, save_gif
from scoreda.plotting.planes import image_grid, scatter_over_density, score_quiver
from scoreda.plotting.schedules import log_snr, noise_schedule
from scoreda.plotting.spectra import correlation, correlation_map, frequency_wavenumber, spectrum_band
from scoreda.plotting.style import colour

__all__ = [
    "acquisition",
    "colour",
    "correlation",
    "correlation_map",
    "error_spectra",
    "frequency_wavenumber",
    "histogram_panels",
    "hovmoeller",
    "hovmoeller_panels",
    "image_grid",
    "level_dots",
    "log_snr",
    "loss_curve",
    "map2d",
    "marginal",
    "marginal_and_potential",
    "noise_schedule",
    "potentials",
    "rank_histogram",
    "ranked",
    "sample_paths",
    "save_gif",
    "scatter_over_density",
    "score_quiver",
    "series",
    "spectrum",
    "spectrum_band",
    "spread_skill_curves",
    "trade_off",
]
