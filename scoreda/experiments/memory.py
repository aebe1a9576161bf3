"""A budget of memory: how it is written, and how the draws of a prior are divided to stay within it."""

import math
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

from scoreda.errors import ScoredaError

if TYPE_CHECKING:
    from scoreda.diffusion import Prior
    from scoreda.diffusion.networks import Tiling

__all__ = [
    "LIBRARIES",
    "TORCH",
    "Draws",
    "draws_unlimited",
    "draws_within",
    "network_bytes",
    "parse_size",
    "readable",
    "tiles_in_words",
    "weights_bytes",
]

LIBRARIES = 450e6  # resident memory of Python with torch, Numba and xarray loaded, bytes
TORCH = 150e6  # bytes of PyTorch with what its derivatives load, beyond those of the libraries
AS_FILE = 20  # bytes for every number drawn: double precision, once more when batches are joined, single in the file
IN_SAMPLER = 12 * 4  # bytes for every number of a batch under way: states, slopes and noise
BATCH = 1000  # what is drawn at a time without a budget
NO_BUDGET = 10**18  # bytes that hold any network as a whole
EVEN = 16  # batches of multiples of this draw the same noise however they are cut

UNITS = {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `8GB`, `512 MiB` or `2.5e9`.

    Raises:
        ScoredaError: if it is not one.
    """
    found = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    units = {unit.lower(): factor for unit, factor in UNITS.items()}
    if found is None or found[2].lower() not in units or found[1].count(".") > 1 or found[1] == ".":
        raise ScoredaError(f"'{text}' is no amount of memory. Write 8GB, 512MB or 16GiB.")
    return int(float(found[1]) * units[found[2].lower()])


def readable(count: float) -> str:
    """Return bytes as a number people read."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def tiles_in_words(tiling: "Tiling", members: int) -> str:
    """Return how a network is evaluated, with so many states at a time."""
    edges, halo = " x ".join(map(str, tiling.edges)), tiling.locality.halo
    return f"{tiling.tiles} tiles of {edges} points with a halo of {halo}, {members} states of each at a time"


def weights_bytes(prior: "Prior") -> int:
    """Return the bytes of a prior's weights."""
    return sum(weights.numel() * weights.element_size() for weights in prior.denoiser.state_dict().values())


def network_bytes(prior: "Prior", states: int, shape: Sequence[int], differentiated: bool = False) -> float:
    """Return the bytes of a network that is evaluated as a whole, on so many states `(C, *space)` at a time."""
    try:
        network = prior.within(NO_BUDGET).denoiser.network
    except ValueError:  # not local: no tile stands for the whole, so that it is evaluated without values
        return _evaluated_bytes(prior, states, tuple(shape), differentiated)
    tiling = network.tiling(shape, prior.dtype.itemsize, differentiated, cached=False)  # type: ignore[operator]
    return states * tiling.bytes


def _evaluated_bytes(prior: "Prior", states: int, shape: tuple[int, ...], differentiated: bool) -> float:
    from scoreda.diffusion.training import footprint

    single = deepcopy(prior.denoiser).float().requires_grad_(differentiated)
    return footprint(single, shape, states, train=differentiated) * prior.dtype.itemsize / 4


class Draws(NamedTuple):
    """How states are drawn.

    Attributes:
        number: All of them.
        shape: Of a state, `(C, *space)`.
        batch: States at a time.
        weights: Bytes of the network's weights.
        network: Bytes of its evaluation.
        for_network: Bytes that it is given, within a budget.
        tiling: How it is evaluated; None as a whole.
    """

    number: int
    shape: tuple[int, ...]
    batch: int
    weights: float
    network: float
    for_network: int = 0
    tiling: "Tiling | None" = None

    def lines(self) -> Iterator[str]:
        """Yield what it comes to, in words."""
        yield f"states: ({self.number}, {', '.join(map(str, self.shape))}), {self.batch} at a time"
        tiles = self.tiling and tiles_in_words(self.tiling, min(self.tiling.members, self.batch))
        yield f"network: {tiles or 'as a whole'}"
        sampler = self.batch * self._points * IN_SAMPLER
        fixed = {"libraries": LIBRARIES, "the weights": self.weights}
        parts = fixed | {"states": self.states, "the sampler": sampler, "the network": self.network}
        yield f"memory: at most {readable(sum(parts.values()))}: " + ", ".join(
            f"{readable(size)} of {name}" for name, size in parts.items()
        )
        yield f"file: {readable(4 * self.number * self._points)}"

    @property
    def states(self) -> float:
        """Bytes of the states as they are kept."""
        return float(AS_FILE * self.number * self._points)

    @property
    def _points(self) -> int:
        return math.prod(self.shape)


def draws_unlimited(prior: "Prior", number: int, points: Sequence[int]) -> Draws:
    """Return how `number` states of `points` points along each axis are drawn without a budget, by any network."""
    shape, batch = (prior.channels or 1, *points), min(number, BATCH)
    return Draws(number, shape, batch, weights_bytes(prior), network_bytes(prior, batch, shape))


def draws_within(prior: "Prior", number: int, points: Sequence[int], memory: int) -> Draws:
    """Return how `number` states of `points` points along each axis are drawn within `memory` bytes.

    Raises:
        ScoredaError: if the states alone, or one tile of the network, do not fit.
        ValueError: if the network is not local.
    """
    shape = (prior.channels or 1, *points)
    each, weights = math.prod(shape), weights_bytes(prior)
    left = memory - LIBRARIES - weights - AS_FILE * number * each
    batch = min(number, BATCH, int(left / 2 / (each * IN_SAMPLER)))
    if batch < 1:
        least = LIBRARIES + weights + (AS_FILE * number + 2 * IN_SAMPLER) * each
        raise ScoredaError(
            f"{number} states of {each:,} numbers take {readable(least)} with the libraries, more than --memory "
            f"{readable(memory)}. Draw fewer at a time, with other seeds."
        )
    batch = batch if batch in (number, BATCH, *range(EVEN)) else batch // EVEN * EVEN
    for_network = int(left - batch * each * IN_SAMPLER)
    tiling = prior.within(for_network).denoiser.network.tiling(shape)  # type: ignore[operator]
    return Draws(number, shape, batch, weights, min(tiling.members, batch) * tiling.bytes, for_network, tiling)
