"""An analysis in blocks of the grid, each with a halo and the observations in it, wherever Dask runs them.

A Dask array of the ensemble is cut along space; a block is overlapped with its neighbours as far as the method looks,
analysed as a line of its own, and trimmed. What a task is sent is its piece of the ensemble and of the observations.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count
from scoreda.assimilation.baselines.ensembles import forecast_and_analyse
from scoreda.assimilation.localisation import located
from scoreda.assimilation.protocol import Info, State
from scoreda.errors import ScoredaError
from scoreda.models import Model, UserModel
from scoreda.observations import Elementwise, Observation, Operator, Sites

if TYPE_CHECKING:
    from dask.array import Array

__all__ = ["Decomposed", "LocalMethod", "analyse_blocks"]

NOWHERE = -1e9  # a grid position that no taper reaches


class LocalMethod(Protocol):
    """A filter that can be cut: what a variable becomes depends on `support` grid points to either side.

    Whether the grid is a ring is its `periodic`, or that of its `localisation`.
    """

    name: str
    model: Model
    support: int

    def on(self, model: Model, points: np.ndarray) -> Any:
        """Return the filter of a stretch of the grid, which is a line."""
        ...

    def of_whole(self, E: Any) -> dict[str, Any]:
        """Return the memory of all stretches: what they must know of the whole forecast `(N, Nx)`, NumPy or Dask."""
        ...

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble`."""
        ...


class Decomposed:
    """A local filter whose analysis is done in blocks: `Decomposed(LETKF(model, 8.0), blocks=8)`.

    The blocks run where Dask runs things: in threads, or on the cluster of the client that is open. All blocks draw
    from copies of one generator, so that a rotation of the members is the same in all of them, and that of the whole.

    Args:
        method: A filter with `on` and `support`: LETKF, CoupledScoreFilter.
        blocks: How many parts the grid is cut into.
        halo: Grid points to either side that a block sees; default the method's `support`.
        periodic: Whether the grid is a ring, or a line; default what the method takes it for.

    Exact when: the method is the LETKF. The coupled score filter solves one system for all observations and all noise
    levels, whose solution differs the less the wider the halo; its climatology needs a `climate_radius` for that.

    Raises:
        ValueError: if the method cannot be cut or takes the grid for another, or the blocks are too small for the halo.
    """

    def __init__(self, method: LocalMethod, blocks: int, halo: int | None = None, periodic: bool | None = None) -> None:
        if not hasattr(method, "on"):
            raise ValueError(f"{method.name} updates all variables together and cannot be cut. Use LETKF.")
        self.method, self.model, self.name = method, method.model, f"{method.name}_in_blocks"
        self.rotate = getattr(method, "rotate", False)
        self.blocks, self.halo = blocks, method.support if halo is None else halo
        self.periodic = _is_ring(method, periodic)
        self.sizes = _sizes(self.model.size, blocks)
        check_blocks(self.sizes, self.halo)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the method's own first state."""
        return self.method.init(ensemble, time)

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, then analyse the blocks.

        Raises:
            ValueError: if the operator is not of sites, or of functions of them.
        """
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: self._analyse(E, obs, rng))

    def _analyse(self, E: np.ndarray, obs: Observation, rng: np.random.Generator) -> np.ndarray:
        import dask
        from dask.array import from_array

        cut = from_array(E, chunks=(len(E), self.sizes))
        done = dask.compute(*_tasks(self.method, cut, obs, rng, self.halo, self.periodic))
        rng.bit_generator.state = done[0][1].bit_generator.state  # as if it had been drawn from once
        return np.concatenate([analysis for analysis, _ in done], axis=1)


def analyse_blocks(
    method: LocalMethod,
    E: "Array",
    obs: Observation,
    rng: np.random.Generator,
    halo: int | None = None,
    periodic: bool | None = None,
) -> "Array":
    """Return the analysis of a forecast that is a Dask array, as one of the same chunks; nothing is computed yet.

    Args:
        method: As for `Decomposed`.
        E: Forecast `(N, Nx)` at `obs.time`, chunks along the second axis.
        obs: Observations of sites, or of functions of them.
        rng: Its copies go to the blocks; it is left as it is.
        halo: As for `Decomposed`.
        periodic: As for `Decomposed`.

    Raises:
        ValueError: if the chunks are too small for the halo, the operator is not of sites, or the method takes the grid
            for another.
    """
    from dask.array import concatenate, from_delayed

    E, halo = E.rechunk({0: -1}), method.support if halo is None else halo
    check_blocks(E.chunks[1], halo)
    tasks = _tasks(method, E, obs.present(), rng, halo, _is_ring(method, periodic))
    shapes = [(len(E), size) for size in E.chunks[1]]
    parts = [from_delayed(task[0], shape, dtype=np.float64) for task, shape in zip(tasks, shapes, strict=True)]
    return concatenate(parts, axis=1)


class _Stretch(NamedTuple):
    """Grid points `first .. first + size - 1` of a line, or of a ring of `around` points."""

    first: int
    size: int
    around: int | None

    @property
    def points(self) -> np.ndarray:
        """Indices into the grid."""
        points = np.arange(self.first, self.first + self.size)
        return points if self.around is None else points % self.around

    def place(self, points: np.ndarray) -> np.ndarray:
        """Return the positions in the stretch of grid points; outside it they are negative, or `size` and more."""
        places = points - self.first
        return places if self.around is None else places % self.around

    def observed(self, obs: Observation) -> Observation:
        """Return the observations in the stretch; where there are none, one that is too far away to count."""
        places = self.place(located(obs.operator, "Decomposed"))
        keep = np.flatnonzero((places >= 0) & (places < self.size))
        if len(keep):
            operator = self._operator(obs.operator.restrict(keep))
        else:
            keep, operator = np.zeros(1, dtype=np.int64), Sites(self.size, [0])
            operator.locations = np.array([NOWHERE])
        return Observation(obs.time, obs.values[keep], operator, obs.error.restrict(keep))

    def _operator(self, operator: Operator) -> Operator:
        if isinstance(operator, Elementwise):
            return Elementwise(self._operator(operator.selection), operator.function)
        if not isinstance(operator, Sites):
            raise ScoredaError(
                f"which variables the operator '{operator.name}' reads is not known, so it cannot be cut. Use Sites, "
                "or Elementwise functions of them."
            )
        return Sites(self.size, self.place(operator.sites))


def check_blocks(sizes: tuple[int, ...], halo: int) -> None:
    """Raise ValueError if a block, or all that a block sees, does not fit its halo, or that is no number of points."""
    checked_count("halo", halo, least=0)
    if len(sizes) > 1 and (min(sizes) < max(halo, 1) or max(sizes) + 2 * halo > sum(sizes)):
        raise ValueError(
            f"blocks of {min(sizes)} grid points are too small for a halo of {halo} on a grid of {sum(sizes)}: a block "
            "must be as wide as the halo, and with both halos no wider than the grid. Use fewer blocks, or one."
        )


def _is_ring(method: LocalMethod, periodic: bool | None) -> bool:
    """Return whether the grid is a ring, as the method takes it; ValueError if `periodic` says otherwise."""
    holder: Any = getattr(method, "localisation", method)
    own = holder.periodic
    if periodic not in (None, own):
        raise ValueError(
            f"`periodic` is {periodic}, but {method.name} was made with periodic={own}. Leave it out, or make the "
            f"method with periodic={periodic}."
        )
    return own


def _sizes(number: int, blocks: int) -> tuple[int, ...]:
    """Share grid points among blocks as evenly as possible."""
    if checked_count("blocks", blocks) > number:
        raise ValueError(f"`blocks` must be 1 to {number}, the number of variables, got {blocks}.")
    bounds = [k * number // blocks for k in range(blocks + 1)]
    return tuple(last - first for first, last in zip(bounds[:-1], bounds[1:], strict=True))


def _tasks(
    method: LocalMethod, E: "Array", obs: Observation, rng: np.random.Generator, halo: int, periodic: bool
) -> Iterator[Any]:
    """Yield, for each block, a delayed pair of its analysis and the generator that was drawn from."""
    from dask import delayed
    from dask.array.overlap import overlap

    if E.numblocks[1] == 1:
        yield delayed(_whole, nout=2)(method, E, obs, rng, {})
        return
    padded = overlap(E, {0: 0, 1: halo}, {0: "none", 1: "periodic" if periodic else "none"}, allow_rechunk=False)
    # Not optimised each by itself, so that they share the pieces of a forecast that is yet to be computed.
    pieces, ends = padded.to_delayed(optimize_graph=False)[0], np.cumsum(E.chunks[1]).tolist()
    whole = {name: value.to_delayed(optimize_graph=False).item() for name, value in method.of_whole(E).items()}
    known = delayed(dict)(**whole)  # a task of its own: a dict of tasks costs all of the graph for every block
    for piece, size, end in zip(pieces, E.chunks[1], ends, strict=True):
        first, last = end - size - halo, end + halo
        if not periodic:
            first, last = max(first, 0), min(last, E.shape[1])
        stretch = _Stretch(first, last - first, E.shape[1] if periodic else None)
        still = UserModel(lambda E: E, size=stretch.size, dt=method.model.dt)  # the forecast has been made
        part, kept = method.on(still, stretch.points), slice(end - size - first, end - first)
        yield delayed(_analysed, nout=2)(part, piece, stretch.observed(obs), rng, known, kept)


def _analysed(
    part: Any, E: np.ndarray, obs: Observation, rng: np.random.Generator, known: dict[str, np.ndarray], kept: slice
) -> tuple[np.ndarray, np.random.Generator]:
    """Analyse one piece with its observations, and keep what is not halo."""
    analysis, rng = _whole(part, E, obs, rng, known)
    return analysis[:, kept], rng


def _whole(
    method: Any, E: np.ndarray, obs: Observation, rng: np.random.Generator, known: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.random.Generator]:
    """Analyse with a generator of its own."""
    own = deepcopy(rng)
    state, _ = method.step(State(obs.time, np.ascontiguousarray(E), known), obs, own)
    return state.ensemble, own
