"""One function, one axes: each takes data and `ax=None`, and returns the Axes; nothing is shown or saved.

ax = series(run)
ax.figure.savefig("series.png")
"""

from scoreda.plotting.curves import loss_curve, series
from scoreda.plotting.distributions import marginal, rank_histogram, spectrum
from scoreda.plotting.fields import hovmoeller, map2d
from scoreda.plotting.style import colour

__all__ = ["colour", "hovmoeller", "loss_curve", "map2d", "marginal", "rank_histogram", "series", "spectrum"]
