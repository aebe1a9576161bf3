r"""Gauss-Newton on the posterior of a trajectory through a window.

$$ (\Lambda + G^\top R^{-1} G)\, \delta = \nabla \log p_\sigma(x_0) + G^\top R^{-1} (y - h(x)) $$

with $G$ the derivative of all observations by the first node, and $\Lambda$ the prior's precision, refreshed once per
call: it only preconditions, the score is evaluated at every iterate. Arrays are those of the
window, NumPy's or torch's.
"""

import math
from typing import NamedTuple

import numpy as np

from scoreda.assimilation.score.symmetric import Symmetric
from scoreda.assimilation.score.window import Linearisation, Window
from scoreda.assimilation.score.window_prior import WindowPrior
from scoreda.observations.arrays import Array, library, like

__all__ = ["Mode", "find_mode"]

SHARES = 0.5 ** np.arange(7)


class Mode(NamedTuple):
    """A mode of the posterior, with the Laplace approximation around it.

    Attributes:
        nodes: The trajectory, `(K + 1, Nx)`.
        window: Misfit and derivatives there.
        hessian: Of minus the log posterior in the first node, positive definite.
    """

    nodes: Array
    window: Linearisation
    hessian: Symmetric

    @property
    def spread(self) -> float:
        """Posterior standard deviation at the window's start, root mean square over variables."""
        return math.sqrt(float((1 / self.hessian.w).mean()))

    @property
    def log_evidence(self) -> float:
        """Laplace's weight of the mode, up to the prior's log density, which modes on the attractor share."""
        w = self.hessian.w
        return -float(self.window.misfit) - 0.5 * float(library(w).log(w).sum())


def find_mode(
    nodes: Array, window: Window, prior: WindowPrior, sigma: float, iterations: int = 20, tolerance: float = 0.01
) -> Mode:
    """Climb from a trajectory to the nearest mode.

    Stops when the step, measured in posterior standard deviations, is below `tolerance` per variable (root mean
    square).
    """
    size = nodes.shape[1]
    precision = prior.precision(nodes[0], sigma)
    here, hessian = _expand(nodes, window, precision)
    for _ in range(iterations):
        score = prior.score(nodes[0], sigma)
        delta = hessian.apply(1 / hessian.w, score + here.descent)
        change = window.move(nodes, delta)
        share = _line_search(nodes, change, score, precision, window, prior.scale)
        nodes = nodes + share * change
        here, hessian = _expand(nodes, window, precision)
        if share == 1 and delta @ hessian.apply(hessian.w, delta) < tolerance**2 * size:
            break
    return Mode(nodes, here, hessian)


def _expand(nodes: Array, window: Window, precision: Array) -> tuple[Linearisation, Symmetric]:
    """Return the linearisation of the window and the decomposed posterior Hessian."""
    here = window.linearise(nodes)
    hessian = precision + here.hessian
    # Growing directions reach 1e12 times the prior's precision; below rounding, eigenvalues are noise.
    return here, Symmetric.of(hessian, floor=1e-15 * float(hessian.trace()))


def _line_search(nodes: Array, change: Array, score: Array, precision: Array, window: Window, scale: float) -> float:
    """Return the largest of 1, 1/2, ... that makes progress; the smallest if none does.

    Progress is a lower misfit and prior model with gaps that stay small beside the climate's spread, or gaps at most
    half as large. A weighted sum of the two would not do: its minimum has gaps.
    """
    shares, delta = like(SHARES, nodes), change[0]
    trial = nodes + shares[:, None, None] * change
    with np.errstate(over="ignore", invalid="ignore"):
        torn, torn_now = ((window.gaps(X) ** 2).mean((-2, -1)) ** 0.5 for X in (trial, nodes))
        gain = window.misfit(nodes) - window.misfit(trial)
        gain = gain + shares * (score @ delta) - 0.5 * shares**2 * (delta @ precision @ delta)
    progress = ((gain > 0) & (torn < 0.1 * scale)) | (torn < 0.5 * torn_now)
    return float(shares[progress][0]) if progress.any() else float(SHARES[-1])
