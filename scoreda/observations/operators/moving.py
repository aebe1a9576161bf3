"""Sites that are drawn anew at every observation time."""

from typing import Any

import numpy as np

from scoreda.observations.operators.base import Operator
from scoreda.observations.operators.elementwise import Elementwise
from scoreda.observations.operators.sites import RandomSites

__all__ = ["MovingSites", "operator_at"]

RESOLUTION = 1e-6  # model time units: times that differ by less than half of it have the same sites


class MovingSites:
    """A rule that gives the operator of each time: `number` different variables, drawn from the seed and the time.

    It draws nothing in order, so a twin that is cut, read from a file or resumed has the same sites at the same times.

    Args:
        state_size: Nx.
        number: Number of sites at each time.
        seed: With the time, all that the sites depend on.
        function: Optional name of `FUNCTIONS`, applied to each of them.

    Raises:
        ValueError: if there are not as many variables, or the function is unknown.
    """

    name = "moving_sites"

    def __init__(self, state_size: int, number: int, seed: int, function: str | None = None) -> None:
        self.state_size, self.size, self.seed, self.function = int(state_size), int(number), int(seed), function
        self.at(0.0)

    def at(self, time: float) -> Operator:
        """Return the operator of the observations at `time`, model time units."""
        ticks = round(time / RESOLUTION) % 2**64
        seed = np.random.SeedSequence([self.seed, ticks]).generate_state(1, np.uint64)
        sites = RandomSites(self.state_size, self.size, int(seed[0]))
        return Elementwise(sites, self.function) if self.function else sites

    def spec(self) -> dict[str, Any]:
        """Return the settings."""
        return dict(
            name=self.name, state_size=self.state_size, number=self.size, seed=self.seed, function=self.function
        )


def operator_at(operator: Operator | MovingSites, time: float) -> Operator:
    """Return the operator of `time`: itself, unless it moves."""
    return operator.at(time) if isinstance(operator, MovingSites) else operator
