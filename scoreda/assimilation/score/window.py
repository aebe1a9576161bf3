r"""A window of past observations, and trajectories through it.

A trajectory is held as its nodes $x_0 \dots x_K$, one at the window's start and one at every observation time. While
the search is under way the nodes need not be joined by the model: the gaps $M_k(x_k) - x_{k+1}$ close as it converges.
A start state alone would be a poor unknown: over a long window the posterior is a sheet that is thin as $e^{-\lambda
T}$ and curved, and every straight step leaves it.

Source: multiple shooting, Bock and Plitt (1984), https://doi.org/10.1016/S1474-6670(17)61205-9
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from scoreda.assimilation.protocol import whole_steps
from scoreda.models import Model
from scoreda.observations import Observation
from scoreda.observations.arrays import Array

__all__ = ["Linearisation", "Window"]


class Linearisation(NamedTuple):
    """The misfit about a trajectory as a quadratic in the change of its first node.

    Attributes:
        misfit: J = 1/2 sum_k d_k^T R_k^-1 d_k with d_k = y_k - h_k(x_k).
        descent: Minus the gradient, `(Nx,)`, gaps closed to first order.
        hessian: Gauss-Newton Hessian, `(Nx, Nx)`.
        tangent: Derivative of the last node by the first; rows are directions at the start, `(Nx, Nx)`.
    """

    misfit: Array
    descent: Array
    hessian: Array
    tangent: Array


class Window(ABC):
    """Observations `past`, oldest first, after a start at time `start`.

    Args:
        model: Must offer what the kind of window needs.
        start: Time of the first node; before the first observation.
        past: Observations without missing values, none empty.
        spent: Model steps of the windows before it in the same search.

    `spent` goes on to count the model steps of this one, a tangent direction as one member.

    Raises:
        ValueError: if the times do not follow one another at whole numbers of model steps.
    """

    def __init__(self, model: Model, start: float, past: Sequence[Observation], spent: int = 0) -> None:
        self.model, self.start, self.past, self.spent = model, start, tuple(past), spent
        times = [start, *(obs.time for obs in past)]
        self.steps = [whole_steps(model, one, two) for one, two in zip(times[:-1], times[1:], strict=True)]

    @property
    def size(self) -> int:
        """Number of observed values."""
        return sum(obs.operator.size for obs in self.past)

    @abstractmethod
    def extend(self, nodes: Array) -> Array:
        """Return the nodes `(k, Nx)`, k >= 1, continued by the model to `(K + 1, Nx)`."""

    @abstractmethod
    def misfit(self, nodes: Array) -> Array:
        """Return J of trajectories `(..., K + 1, Nx)`."""

    @abstractmethod
    def gaps(self, nodes: Array) -> Array:
        """Return `M_k(x_k) - x_{k+1}` of trajectories `(..., K + 1, Nx)`, shape `(..., K, Nx)`."""

    @abstractmethod
    def linearise(self, nodes: Array) -> Linearisation:
        """Return J and its derivatives about the nodes `(K + 1, Nx)`."""

    @abstractmethod
    def move(self, nodes: Array, delta: Array) -> Array:
        """Return the change of every node, `(K + 1, Nx)`, when the first changes by `delta` and the gaps close."""
