"""The local ensemble transform Kalman filter."""

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from scoreda.assimilation.baselines.ensembles import checked_inflation, forecast_and_analyse, inflated, rotation, split
from scoreda.assimilation.baselines.kernels import local_update
from scoreda.assimilation.baselines.serial import check_independent
from scoreda.assimilation.localisation import Distance, Localisation, Neighbourhoods, Taper, gaspari_cohn, located
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation, Operator

__all__ = ["LETKF"]

PART = 2**14  # variables whose neighbourhoods are in memory at once


class LETKF:
    """Local ensemble transform Kalman filter: at every variable an ETKF with the observations near it.

    The error precision of an observation at distance r is multiplied by `taper(r / radius)` ("R-localisation").

    Args:
        model: The forecast model.
        radius: Half-width c of the taper, grid points. With the Gaspari-Cohn taper an observation counts 5/24 at c and
            nothing from 2 c on. Packages that name the Gaussian of the same curvature mean c / sqrt(10/3) = c / 1.83.
        inflation: Factor on the forecast anomalies before the analysis.
        rotate: Whether to mix the analysis anomalies by a random rotation, the same at every variable.
        taper: Weight as a function of distance / radius; must vanish from 2 on.
        periodic: Whether the grid is a ring, or a line.
        distance: In place of the distance on them, as for `Localisation`.

    Exact when: the operator is linear and the radius large; it is then the ETKF.
    Source: Hunt et al. (2007), https://doi.org/10.1016/j.physd.2006.11.008
    """

    name = "letkf"

    def __init__(
        self,
        model: Model,
        radius: float,
        inflation: float = 1.0,
        rotate: bool = False,
        taper: Taper = gaspari_cohn,
        periodic: bool = True,
        distance: Distance | None = None,
    ) -> None:
        self.model, self.inflation, self.rotate = model, checked_inflation(inflation), rotate
        self.localisation = Localisation.on(model, radius, taper, periodic, distance)
        self._known: tuple[np.ndarray, Neighbourhoods] | None = None

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, then analyse every variable.

        Raises:
            ValueError: if the operator has no locations, or errors are correlated.
        """
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: self._analyse(E, obs, rng))

    @property
    def support(self) -> int:
        """Grid points around a variable in which its observations are."""
        return math.ceil(2 * self.localisation.radius)

    def on(self, model: Model, points: np.ndarray) -> "LETKF":
        """Return the filter of a stretch of the grid, a line whose `model` has a variable for each of its `points`.

        Raises:
            ValueError: if a `distance` of its own says what is near what.
        """
        if self.localisation.distance is not None:
            raise ValueError("a filter with a `distance` of its own cannot be cut. Leave it out, or use one machine.")
        part = copy(self)
        part.model, part.localisation, part._known = model, replace(self.localisation, periodic=False), None
        return part

    def of_whole(self, E: Any) -> dict[str, Any]:
        """Return what a stretch has to know of the whole forecast: nothing."""
        return {}

    def _analyse(self, E: np.ndarray, obs: Observation, rng: np.random.Generator) -> np.ndarray:
        check_independent(obs, "LETKF")
        Hx, Y = split(obs.operator(inflated(E, self.inflation)))
        d, turn = obs.values - Hx, rotation(len(E), rng) if self.rotate else None
        analysis = np.empty_like(E)
        # Threads that wait for a busy core cost milliseconds, about four million operations.
        parallel = self.model.size * len(E) ** 3 > 4_000_000
        for part, near in self._neighbourhoods(obs.operator):
            mean, A = split(E[:, part])
            increment, A = local_update(self.inflation * A, Y, 1 / obs.error.variance, d, *near, parallel=parallel)
            analysis[:, part] = mean + increment + (A if turn is None else turn @ A)
        return analysis

    def _neighbourhoods(self, operator: Operator) -> Iterator[tuple[slice, Neighbourhoods]]:
        """Yield parts of the grid with the observations near them; those of a small grid are kept for the next time."""
        places, size = located(operator, "LETKF"), self.model.size
        if size > PART:
            for first in range(0, size, PART):
                part = np.arange(first, min(first + PART, size))
                yield slice(first, first + PART), self.localisation.near(places, size, part)
            return
        if self._known is None or self._known[0] is not places:
            self._known = (places, self.localisation.near(places, size))
        yield slice(None), self._known[1]
