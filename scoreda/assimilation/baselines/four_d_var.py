"""Strong-constraint 4D-Var."""

from typing import NamedTuple

import numpy as np

from scoreda.assimilation.baselines.checks import checked_count, checked_positive
from scoreda.assimilation.baselines.gaussian import draws, square_root
from scoreda.assimilation.baselines.variational import Linearised, linearised, minimise
from scoreda.assimilation.protocol import Info, State, check_ensemble, forecast_to, innovation_chi2, whole_steps
from scoreda.datasets.climatology import Climatology
from scoreda.models import Model, require
from scoreda.observations import Observation

__all__ = ["FourDVar"]


class FourDVar:
    r"""Strong-constraint 4D-Var over a sliding window: the model is exact, its start is not.

    $$ J(x_0) = \tfrac12 (x_0 - x_b)^\top B^{-1} (x_0 - x_b)
       + \tfrac12 \sum_k (y_k - h_k(M_k x_0))^\top R_k^{-1} (y_k - h_k(M_k x_0)) $$

    The background of a window is the analysis that was made when its start was the latest time, so no observation
    counts twice; B is the climatological covariance times `scale`. The minimum is sought by Gauss-Newton from the
    trajectory of the window before. The members are draws from the Laplace approximation at the start, carried to the
    end by the tangent, with the minimum's trajectory as their mean.

    Args:
        model: Must offer `"tangent"`.
        climatology: Its covariance gives B.
        window: Observation times in the window.
        scale: Factor on the climatological covariance: the variance of an analysis error over that of the climate.
        iterations: Gauss-Newton steps at most.

    Exact when: model and operator are linear and B is the covariance of the first background: until the window slides,
    mean and covariance are the Kalman smoother's. The mean of `ensemble` given to `init` is the first background.
    Cost: Nx + 1 model steps for every step of the window, at every linearisation.
    Source: Le Dimet and Talagrand (1986), https://doi.org/10.3402/tellusa.v38i2.11706; a window that slides and starts
    from its predecessor's minimum: Pires et al. (1996), https://doi.org/10.1034/j.1600-0870.1996.00006.x
    """

    name = "4dvar"
    analyses_forecast = False

    def __init__(
        self, model: Model, climatology: Climatology, window: int = 10, scale: float = 0.02, iterations: int = 10
    ) -> None:
        require(model, "tangent", "FourDVar")
        self.model, self.window = model, checked_count("window", window)
        self.iterations, self.scale = checked_count("iterations", iterations), checked_positive("scale", scale)
        self.rows, self.inverse = square_root(self.scale * climatology.cov)

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Start from the mean of `ensemble` `(N, Nx)`; the members serve the first forecast."""
        E = check_ensemble(ensemble, self.model.size)
        x = E.mean(0, keepdims=True)
        return State(time, E, {"backgrounds": x, "trajectory": x, "start": np.array(time)})

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Admit `obs`, drop what has left the window, and minimise the cost."""
        prior, steps = forecast_to(self.model, state.ensemble, state.time, obs.time, rng)
        spent, obs = steps * len(prior), obs.present()
        diagnostics = dict(chi2=innovation_chi2(prior, obs), model_steps=float(spent))
        if obs.is_empty or not np.isfinite(prior).all():
            return state.replace(time=obs.time, ensemble=prior), Info(prior, diagnostics)
        window, backgrounds, guess = self._slide(state, obs)
        w = (guess - backgrounds[0]) @ self.inverse
        found = minimise(w, lambda w: window.linearise(backgrounds[0] + w @ self.rows, self.rows), self.iterations)
        diagnostics["model_steps"] += found.linearisations * sum(window.steps) * (len(self.rows) + 1)
        memory = state.memory | {
            "backgrounds": np.vstack([backgrounds, found.at.x]),
            "trajectory": window.trajectory(backgrounds[0] + found.w @ self.rows),
            "start": np.array(window.start),
        }
        E = draws(found.at.x, found.anomalies(), len(prior), rng)
        return State(obs.time, E, memory, window.past), Info(prior, diagnostics)

    def _slide(self, state: State, obs: Observation) -> tuple["Window", np.ndarray, np.ndarray]:
        """Return the window that ends with `obs`, the backgrounds from its start on, and a first guess of the start."""
        past, start = (*state.past, obs), float(state.memory["start"])
        backgrounds, trajectory = state.memory["backgrounds"], state.memory["trajectory"]
        if len(past) > self.window:
            start, past, backgrounds, trajectory = past[0].time, past[1:], backgrounds[1:], trajectory[1:]
        return Window(self.model, start, past), backgrounds, trajectory[0]


class Window(NamedTuple):
    """The observations `past`, oldest first, after a start at time `start`."""

    model: Model
    start: float
    past: tuple[Observation, ...]

    @property
    def steps(self) -> list[int]:
        """Model steps before each observation."""
        times = [self.start, *(obs.time for obs in self.past)]
        return [whole_steps(self.model, one, two) for one, two in zip(times[:-1], times[1:], strict=True)]

    def trajectory(self, x: np.ndarray) -> np.ndarray:
        """Return the states `(len(past) + 1, Nx)` at the start and at every observation."""
        states = [x[None]]
        for steps in self.steps:
            states.append(self.model.step(states[-1], steps))
        return np.concatenate(states)

    def linearise(self, x: np.ndarray, X: np.ndarray) -> Linearised:
        """Return what all observations see of the start `x` and of its perturbations along the rows of `X`."""
        seen = []
        for steps, obs in zip(self.steps, self.past, strict=True):
            x, X = self.model.tangent(x, X, steps)  # type: ignore[attr-defined]
            seen.append(linearised(x, X, obs))
        return Linearised(np.concatenate([k.d for k in seen]), np.concatenate([k.S for k in seen], axis=1), x, X)
