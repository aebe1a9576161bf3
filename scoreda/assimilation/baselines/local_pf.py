"""A local particle filter."""

import numpy as np

from scoreda.assimilation.baselines.ensembles import forecast_and_analyse
from scoreda.assimilation.baselines.resampling import survivors, systematic
from scoreda.assimilation.baselines.serial import check_independent, singles
from scoreda.assimilation.baselines.serial_kernels import merge
from scoreda.assimilation.localisation import Distance, Localisation, Taper, gaspari_cohn, located
from scoreda.assimilation.protocol import Info, State, check_ensemble
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["LocalPF"]


class LocalPF:
    r"""Local particle filter of Poterjoy: observations in turn, each merging sampled members into those near it.

    Observation j gives a member the weight $w = 1 - \alpha + \alpha\, p(y_j \mid x) / p_{max}$, and variable i
    knows it as $1 - l_{ij} + l_{ij} w$ with the taper l. The products of these local weights over the observations so
    far weight the members of the forecast; their mean $\bar x_i$ and variance are given to

    $$ x_i = \bar x_i + r_1 (x_{i, k} - \bar x_i) + r_2 (x_i - \bar x_i), \quad
       r_2 / r_1 = \frac{N (1 - l)}{l \sum w} $$

    with k the members resampled by the weights w of the members as they stand. Where the paper's mean holds up to
    sampling error, here it is exact; its final mapping of the marginals by kernel densities is left out. With a perfect
    model it needs inflation: `Inflated(LocalPF(model, radius), RTPS(0.5))`.

    Args:
        model: The forecast model.
        radius: Half-width c of the taper, grid points.
        alpha: Below 1 it keeps every weight above 1 - alpha, against collapse.
        taper: Weight as a function of distance / radius.
        periodic: Whether the grid is a ring, or a line.
        distance: In place of the distance on them, as for `Localisation`.

    Exact when: one observation, alpha = 1 and the radius large; mean and variance of every variable are then those of
    the weighted particles.
    Source: Poterjoy (2016), https://doi.org/10.1175/MWR-D-15-0163.1
    """

    name = "local_pf"

    def __init__(
        self,
        model: Model,
        radius: float,
        alpha: float = 0.98,
        taper: Taper = gaspari_cohn,
        periodic: bool = True,
        distance: Distance | None = None,
    ) -> None:
        if not 0 < alpha <= 1:
            raise ValueError(f"`alpha` must be in (0, 1], got {alpha}. 1 trusts the weights fully; the usual is 0.98.")
        self.model, self.alpha = model, float(alpha)
        self.localisation = Localisation.on(model, radius, taper, periodic, distance)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state that starts from `ensemble` `(N, Nx)`."""
        return State(time, check_ensemble(ensemble, self.model.size))

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, then take the observations in turn.

        Raises:
            ValueError: if the operator has no locations, or errors are correlated.
        """
        check_independent(obs, "LocalPF")
        return forecast_and_analyse(self.model, state, obs, rng, lambda E, obs: self._analyse(E, obs, rng))

    def _analyse(
        self, E: np.ndarray, obs: Observation, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, float]]:
        grid = np.arange(float(self.model.size))
        near = self.localisation.near(grid, self.model.size, located(obs.operator, "LocalPF"))
        prior = np.ascontiguousarray(E.T)
        Z, omega, given = prior.copy(), np.ones_like(prior), self._weights(E, obs)
        for j, one in enumerate(singles(obs)):
            w = self._weights(Z.T, one)[:, 0]
            kept = survivors(systematic(w / w.sum(), rng))
            part = slice(near.start[j], near.start[j + 1])
            merge(Z, prior, omega, given[:, j].copy(), kept, w.sum(), near.obs[part], near.weight[part])
        return np.ascontiguousarray(Z.T), dict(ess=_mean_size(omega))

    def _weights(self, E: np.ndarray, obs: Observation) -> np.ndarray:
        """Return the weight of every member by every observation `(N, Ny)`, 1 at the error's mode."""
        relative = obs.error.log_density(obs.values - obs.operator(E)) - obs.error.log_density(np.zeros(obs.error.size))
        return 1 - self.alpha + self.alpha * np.exp(relative)


def _mean_size(omega: np.ndarray) -> float:
    """Return the effective sample size, averaged over the variables."""
    w = omega / omega.sum(1, keepdims=True)
    return float(np.mean(1 / (w * w).sum(1)))
