"""The rank-histogram filter."""

import numpy as np

from scoreda.assimilation.baselines.ensembles import checked_inflation, forecast_and_analyse, inflated
from scoreda.assimilation.baselines.resampling import normalised
from scoreda.assimilation.baselines.serial import check_independent, joint, joint_neighbourhoods, singles
from scoreda.assimilation.baselines.serial_kernels import rank_histogram_move, regress
from scoreda.assimilation.localisation import Distance, Localisation, Taper, gaspari_cohn
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["RankHistogramFilter"]


class RankHistogramFilter:
    """Rank-histogram filter: the marginal of what is observed may have any shape, and so may the error.

    In turn for every observation: the observed members stand for a density with equal mass between neighbours and
    Gaussian tails; it is multiplied by the likelihood, and the members move to the quantiles 1 .. N over N + 1 of the
    product, in their order. All else follows by linear regression, as in the serial square-root filter.

    Args:
        model: The forecast model.
        radius: Half-width c of the taper, grid points; without one there is no localisation.
        inflation: Factor on the forecast anomalies before the analysis.
        taper: Weight as a function of distance / radius.
        periodic: Whether the grid is a ring, or a line.
        distance: In place of the distance on them, as for `Localisation`.

    Exact when: one scalar is observed, and N -> inf.
    Source: Anderson (2010), https://doi.org/10.1175/2010MWR3253.1, with its rectangular quadrature and flat
    likelihoods in the tails.
    """

    name = "rank_histogram"

    def __init__(
        self,
        model: Model,
        radius: float | None = None,
        inflation: float = 1.0,
        taper: Taper = gaspari_cohn,
        periodic: bool = True,
        distance: Distance | None = None,
    ) -> None:
        self.model, self.inflation = model, checked_inflation(inflation)
        self.localisation = Localisation.within(model, radius, taper, periodic, distance)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, then take the observations in turn; `rng` serves a random model only.

        Raises:
            ValueError: if errors are correlated, or the filter is local and the operator has no locations.
        """
        check_independent(obs, "RankHistogramFilter")
        return forecast_and_analyse(self.model, state, obs, rng, self._analyse)

    def _analyse(self, E: np.ndarray, obs: Observation) -> np.ndarray:
        Nx = self.model.size
        Z = joint(inflated(E, self.inflation), obs)
        near = joint_neighbourhoods(self.localisation, obs, Nx, "RankHistogramFilter")
        for j, one in enumerate(singles(obs)):
            h, part = Z[Nx + j].copy(), slice(near.start[j], near.start[j + 1])
            likelihood = normalised(one.error.log_density(one.values - h[:, None])[:, 0])
            regress(Z, h, rank_histogram_move(h, likelihood) - h, near.obs[part], near.weight[part])
        return Z[:Nx].T.copy()
