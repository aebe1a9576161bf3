r"""The Swiss roll in the plane: its law in closed form, and its posterior given one observation, by quadrature.

A point of the roll is a point of a curve plus Gaussian noise. So the law is a mixture of equal Gaussians along the
curve, and with 600 of them spaced closer than they are wide it is exact to seven digits: `Empirical` denoises it.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from scoreda.datasets import Normaliser
from scoreda.diffusion import VE, Empirical, Schedule

__all__ = ["HALF_WIDTH", "Posterior", "Problem", "Roll", "curve", "make_swiss_roll", "product"]

NOISE = 0.2  # across and along the curve, in the roll's own units
MEMBERS = 600
HALF_WIDTH = 2.4  # of the plane in normalised units; the roll ends at 2


def curve(u: np.ndarray) -> np.ndarray:
    """Return the points `(n, 2)` of the roll at `u` in [0, 1]: a spiral of one and a half turns."""
    angle = 1.5 * np.pi * (1 + 2 * u)
    return angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def make_swiss_roll(number: int, rng: np.random.Generator) -> np.ndarray:
    """Return points `(number, 2)` of the noisy roll."""
    return curve(rng.uniform(size=number)) + NOISE * rng.normal(size=(number, 2))


def product(x: Tensor) -> Tensor:
    """Observe x1 x2 of states `(B, 2)`, shape `(B, 1)`."""
    return x[:, :1] * x[:, 1:]


@dataclass(frozen=True)
class Roll:
    """The law of the roll in normalised units."""

    normaliser: Normaliser

    @cached_property
    def members(self) -> Tensor:
        """Points of the curve, evenly spaced in `u`, `(MEMBERS, 2)`."""
        u = (np.arange(MEMBERS) + 0.5) / MEMBERS
        return torch.tensor(self.normaliser.apply(curve(u)), dtype=torch.float32)

    @property
    def width(self) -> float:
        """Standard deviation of the noise around the curve."""
        return NOISE / self.normaliser.std

    def denoiser(self, schedule: Schedule) -> Empirical:
        """Return the exact denoiser."""
        return Empirical(self.members, schedule, self.width)

    def density(self, x: Tensor) -> Tensor:
        """Return p(x) of points `(n, 2)`."""
        return self.denoiser(VE(1e-6)).log_prob(x, 0.0).exp()

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distance to the curve and the index of the nearest of `members`, both `(n,)`."""
        nearest = torch.cdist(x, self.members).min(1)
        return nearest.values, nearest.indices

    def off(self, x: Tensor) -> float:
        """Return the share of points further from the curve than four standard deviations."""
        return float((self.nearest(x)[0] > 4 * self.width).float().mean())


@dataclass(frozen=True)
class Problem:
    """A schedule, and what is observed of the product x1 x2."""

    schedule: Schedule
    y: float
    obs_std: float

    @property
    def values(self) -> Tensor:
        """The observation as guidance takes it, `(1,)`."""
        return torch.tensor([self.y])

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Return ln p(y | x) of points `(n, 2)` up to a constant."""
        return -(((product(x)[:, 0] - self.y) / self.obs_std) ** 2) / 2


class Posterior:
    """p(x | y) on a grid of cells, and its branches: the stretches of the roll around each crossing of x1 x2 = y.

    Args:
        roll: The prior.
        problem: The observation.
        cells: Along each axis; narrower than the roll is thick.
    """

    def __init__(self, roll: Roll, problem: Problem, cells: int) -> None:
        self.roll, self.cells, self.cell = roll, cells, 2 * HALF_WIDTH / cells
        centres = (torch.arange(cells) + 0.5) * self.cell - HALF_WIDTH
        self.x = torch.cartesian_prod(centres, centres)
        mass = roll.density(self.x).double() * problem.log_likelihood(self.x).double().exp()
        self.mass = mass / mass.sum()
        self.edges = _branch_edges(product(roll.members)[:, 0] - problem.y)

    def sample(self, number: int, generator: torch.Generator) -> Tensor:
        """Draw cells by their mass and points evenly within them, `(number, 2)`."""
        cell = torch.multinomial(self.mass, number, replacement=True, generator=generator)
        return self.x[cell] + (torch.rand(number, 2, generator=generator) - 0.5) * self.cell

    def density(self, points: np.ndarray) -> np.ndarray:
        """Return the mass of the cells in which points `(n, 2)` lie, for a picture."""
        i, j = ((points + HALF_WIDTH) / self.cell).astype(int).clip(0, self.cells - 1).T
        return self.mass.numpy()[i * self.cells + j]

    def branches(self, x: Tensor) -> np.ndarray:
        """Return the share of points `(n, 2)` nearest to each branch, from the centre of the roll outwards."""
        return self._shares(x, torch.full((len(x),), 1 / len(x), dtype=torch.float64))

    @cached_property
    def weights(self) -> np.ndarray:
        """The probability of each branch."""
        seen = self.mass > 1e-9 * self.mass.max()
        return self._shares(self.x[seen], self.mass[seen])

    def agreement(self, draws: list[Tensor], others: list[Tensor]) -> float:
        """Return the share of points on the branch of the other point in the same place."""
        return float((self._branch(torch.cat(draws)) == self._branch(torch.cat(others))).mean())

    def _branch(self, x: Tensor) -> np.ndarray:
        return np.searchsorted(self.edges, self.roll.nearest(x)[1].numpy())

    def _shares(self, x: Tensor, mass: Tensor) -> np.ndarray:
        return np.bincount(self._branch(x), weights=mass.numpy(), minlength=len(self.edges) + 1)


def _branch_edges(residual: Tensor) -> np.ndarray:
    """Return the members at which a branch ends: where |x1 x2 - y| is largest between two of its zeros."""
    signs = residual.sign()
    zeros = (signs[1:] != signs[:-1]).nonzero()[:, 0].tolist()
    between = [range(a, b + 1) for a, b in zip(zeros[:-1], zeros[1:], strict=True)]
    return np.array([max(part, key=lambda k: math.fabs(float(residual[k]))) for part in between])
