"""A local network, evaluated piece by piece within a budget of memory."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp

from scoreda.diffusion.networks.base import Network
from scoreda.diffusion.networks.causal import CausalWindow
from scoreda.diffusion.networks.locality import Locality

__all__ = ["Tiled", "Tiling"]

AT_WORK = 8  # tensors of the widest layer that a residual block and its convolutions hold at a time, measured
IN_DERIVATIVE = 12  # times as much where a piece is differentiated, all of its blocks being held, measured
IN_CACHE = 16_000_000  # bytes that a processor keeps near: larger pieces take it as long, or longer on a busy machine
HALOS = 1.05  # how much more of a field may be evaluated for that


class Tiling:
    """How a field is cut: tiles that together are the field, each evaluated with a halo, and members in groups.

    Args:
        space: Grid points along every axis.
        locality: Of the network.
        bytes_per_point: What a grid point takes while it is evaluated.
        memory: Budget, bytes.

    Attributes:
        members: Most members that are evaluated at a time; 1 if the field is cut.
        edges: Grid points of a tile along every axis, without halo.

    Raises:
        ValueError: if the smallest tile does not fit the budget, or a ring cannot be cut evenly.
    """

    def __init__(self, space: Sequence[int], locality: Locality, bytes_per_point: float, memory: int) -> None:
        self.space, self.locality, self.points = tuple(space), locality, int(memory / bytes_per_point)
        self.edges = self._edges()
        self.bytes = self.largest * bytes_per_point
        if self.largest > self.points:
            raise ValueError(
                f"`memory` = {memory / 1e6:.3g} MB does not hold one tile of {self.largest:,} grid points with its "
                f"halo of {locality.halo} points; it takes {self.bytes / 1e6:.3g} MB."
            )
        self.members = max(1, self.points // self.largest)

    @property
    def largest(self) -> int:
        """Grid points of the largest piece, halo included."""
        number = 1
        for edge, size in zip(self.edges, self.space, strict=True):
            number *= min(size, edge + 2 * self.locality.halo)
        return number

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        number = 1
        for edge, size in zip(self.edges, self.space, strict=True):
            number *= -(-size // edge)
        return number

    @property
    def evaluated(self) -> int:
        """Grid points that are evaluated for one field, halos included."""
        return self.tiles * self.largest

    def _edges(self) -> tuple[int, ...]:
        """Return the edges of tiles that fit: short axes are left whole, the rest is shared evenly."""
        grid, edges, left = self.locality.grid, dict[int, int](), float(self.points)
        for k, axis in enumerate(sorted(range(len(self.space)), key=lambda axis: self.space[axis])):
            size, fair = self.space[axis], int(left ** (1 / (len(self.space) - k)) + 1e-9)
            inner = max(1, (fair - 2 * self.locality.halo) // grid) * grid
            edges[axis] = size if size <= fair else min(size, inner)
            left /= min(size, edges[axis] + 2 * self.locality.halo)
        for axis, edge in edges.items():
            self._check_ring(axis, edge)
        return tuple(edges[axis] for axis in range(len(self.space)))

    def _check_ring(self, axis: int, edge: int) -> None:
        size, grid = self.space[axis], self.locality.grid
        if self.locality.rings[axis] and edge < size and size % grid:
            raise ValueError(
                f"a ring of {size} points cannot be cut for a network of {grid} points on its coarsest level. "
                f"Use a multiple of {grid}, a ConvNet, or the memory for the whole."
            )

    def along(self, axis: int) -> Iterator[tuple[Tensor, slice]]:
        """Yield the pieces along an axis: which points are evaluated, and which of them are kept."""
        size, edge, halo = self.space[axis], self.edges[axis], self.locality.halo
        for first in range(0, size, edge):
            last = min(first + edge, size)
            points = torch.arange(first - halo, last + halo)
            if last - first + 2 * halo >= size:
                yield torch.arange(size), slice(first, last)
            elif self.locality.rings[axis]:
                yield points % size, slice(halo, halo + last - first)
            else:
                points = points[(points >= 0) & (points < size)]
                yield points, slice(first - int(points[0]), last - int(points[0]))


class Tiled(nn.Module):
    """A local network as itself, evaluated in tiles with halos and groups of members: same answer, bounded memory.

    As a network it goes wherever a network does: into a denoiser, a prior (`prior.within(memory)`), under guidance. A
    derivative with respect to the states takes smaller pieces and evaluates them once more, instead of keeping what
    they were made of, so that it stays within the budget too; training, with respect to weights, keeps everything.

    Args:
        network: Convolutional, without attention and without norms over the domain.
        memory: Bytes for evaluation, beside the states themselves.

    Raises:
        ValueError: if the network is not local.
    """

    name = "tiled"

    def __init__(self, network: Network | CausalWindow, memory: int) -> None:
        super().__init__()
        network.locality()
        self.network, self.memory = network, int(memory)
        self.channels, self.dimensions = network.channels, getattr(network, "dimensions", None)

    def tiling(
        self, shape: Sequence[int], itemsize: int = 4, differentiated: bool = False, cached: bool = True
    ) -> Tiling:
        """Return how a sample `(C, *space)` of numbers of `itemsize` bytes is cut.

        The pieces fill the budget, or, if `cached`, what a processor keeps near, where that takes few more halos.

        Raises:
            ValueError: if the smallest tile does not fit the budget.
        """
        locality = self.network.locality(shape[0])
        tensors = AT_WORK * (IN_DERIVATIVE if differentiated else 1)
        cut = partial(Tiling, shape[1:], locality, tensors * locality.width * itemsize)
        large = cut(self.memory)
        if not cached or differentiated or self.memory <= IN_CACHE:
            return large
        try:
            small = cut(IN_CACHE)
        except ValueError:
            return large
        return small if small.evaluated <= HALOS * large.evaluated else large

    def forward(
        self, x: Tensor, c_noise: Tensor, condition: Tensor | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Map `x` `(B, C, *)` as the network does; see `Network`."""
        self.check(x)
        tiling = self.tiling(x.shape[1:], x.element_size(), x.requires_grad, x.device.type == "cpu")
        told = (c_noise, condition, given)
        return torch.cat([self._rows(tiling, *group) for group in _groups(tiling.members, x, told)])

    def check(self, x: Tensor) -> None:
        """Refuse what the network cannot map; see `Network`."""
        self.network.check(x)

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the network."""
        return dict(name=self.name, network=self.network.spec(), memory=self.memory)

    def _rows(self, tiling: Tiling, x: Tensor, told: Sequence[Tensor | None], axis: int = 0) -> Tensor:
        """Evaluate a group of members: cut along an axis, what is cut along the next one, and put together."""
        if axis == len(tiling.space):
            return self._piece(x, told)
        if tiling.edges[axis] == tiling.space[axis]:
            return self._rows(tiling, x, told, axis + 1)
        kept, dim = [], axis + 2
        for points, inner in tiling.along(axis):
            c_noise, condition, given = told
            points = points.to(x.device)
            part = (c_noise, None if condition is None else condition.index_select(dim, points), given)
            out = self._rows(tiling, x.index_select(dim, points), part, axis + 1)
            kept.append(out.narrow(dim, inner.start, inner.stop - inner.start))
        return torch.cat(kept, dim)

    def _piece(self, x: Tensor, told: Sequence[Tensor | None]) -> Tensor:
        if any(weights.requires_grad for weights in self.network.parameters()):
            return self.network(x, *told)
        return _Piece.apply(x, lambda x: self.network(x, *told))


class _Piece(torch.autograd.Function):
    """One evaluation of a network that keeps its input alone, and evaluates again where a derivative is asked for."""

    @staticmethod
    def forward(x: Tensor, network: Any) -> Tensor:
        return network(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        x, ctx.network = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return vjp(ctx.network, x)[1](slope)[0], None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (x,) = ctx.saved_tensors
        return jvp(ctx.network, (x,), (tangent,))[1]


def _groups(members: int, x: Tensor, told: Sequence[Tensor | None]) -> Iterator[tuple[Tensor, list[Tensor | None]]]:
    """Yield the samples and what the network is told of them, so many at a time."""
    for first in range(0, len(x), members):
        rows = slice(first, first + members)
        yield x[rows], [v if v is None or len(v) != len(x) else v[rows] for v in told]
