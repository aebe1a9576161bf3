"""The state itself at some of its sites: listed, regular or drawn at random."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["EveryNth", "Identity", "RandomSites", "Sites"]


class Sites:
    """The state itself at listed sites, in the order given.

    Raises:
        ValueError: if a site is outside `0 .. state_size - 1`, or none is given.
    """

    name = "sites"
    linear = True
    carried = ("_selected",)

    def __init__(self, state_size: int, sites: Sequence[int] | np.ndarray) -> None:
        index = np.asarray(sites, dtype=np.int64).ravel()
        outside = index[(index < 0) | (index >= state_size)]
        if len(outside):
            raise ValueError(
                f"site {outside[0]} is out of range: the state has {state_size} variables, 0 to {state_size - 1}."
            )
        if not len(index):
            raise ValueError("no site is observed. List at least one.")
        self.state_size, self.size, self.sites = int(state_size), len(index), index
        self.locations: np.ndarray | None = index.astype(np.float64)
        self._selected = _as_slice(index)

    def __call__(self, E: Any) -> Any:
        """Select the sites on the last axis; of a tensor, a view where they are regular."""
        # Indexing would leave the sites on the slowest axis of the copy, for every reader to put right.
        return E.take(self.sites, axis=-1) if isinstance(E, np.ndarray) else E[..., self._selected]

    def tangent(self, x: np.ndarray, dX: np.ndarray) -> np.ndarray:
        """Select the sites of the perturbations."""
        return dX.take(self.sites, axis=-1)

    def restrict(self, keep: np.ndarray) -> "Sites":
        """Keep some of the sites."""
        return Sites(self.state_size, self.sites[keep])

    def spec(self) -> dict[str, Any]:
        """Return the sites."""
        return dict(name=self.name, state_size=self.state_size, sites=self.sites.tolist())


def _as_slice(index: np.ndarray) -> slice | np.ndarray:
    """Return regular sites as a slice, which torch need not copy from the host to a device at every call."""
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    regular = step > 0 and (np.diff(index) == step).all()
    return slice(int(index[0]), int(index[-1]) + 1, step) if regular else index


def Identity(state_size: int) -> Sites:
    """Observe every variable."""
    return Sites(state_size, np.arange(state_size))


def EveryNth(state_size: int, step: int, start: int = 0) -> Sites:
    """Observe variables `start, start + step, ...`."""
    if step < 1:
        raise ValueError(f"`step` must be at least 1, got {step}.")
    return Sites(state_size, np.arange(start, state_size, step))


def RandomSites(state_size: int, number: int, seed: int) -> Sites:
    """Observe `number` different variables, drawn once from `seed` and in increasing order.

    Raises:
        ValueError: if there are not as many variables.
    """
    if not 1 <= number <= state_size:
        raise ValueError(f"`number` must be 1 to {state_size}, the size of the state, got {number}.")
    return Sites(state_size, np.sort(np.random.default_rng(seed).choice(state_size, number, replace=False)))
