r"""Score-4D: a diffusion prior on the state at the start of a sliding window, the likelihood through the model.

    p(x_start | y in the window)  ~  p(x_start)  prod_k N(y_k; h(M_k x_start), R)

No covariance is cycled, inflated or localised: all memory is in the window's observations. Particles climb to the
modes of the posterior by Gauss-Newton, annealed in two ways: observations are admitted one at a time (each step starts
from the modes of the last), and the noise level of the learned prior falls with the posterior's spread. Where the
window fits worse than chance allows, the basin is wrong: particles are drawn from the prior anew and re-acquire on the
latest observations.

Source of the problem: strong-constraint 4D-Var with quasi-static approach to the minimum, Pires et al. (1996),
https://doi.org/10.1034/j.1600-0870.1996.00006.x; of the prior: Karras et al. (2022).
"""

import numpy as np
import torch

from scoreda.assimilation.baselines.checks import checked_count, checked_positive
from scoreda.assimilation.protocol import Info, State, check_ensemble, forecast_to, innovation_chi2, whole_steps
from scoreda.assimilation.score.gauss_newton import Mode, find_mode
from scoreda.assimilation.score.kernel_window import KernelWindow
from scoreda.assimilation.score.torch_window import TorchWindow
from scoreda.assimilation.score.window import Window
from scoreda.assimilation.score.window_prior import GaussianWindowPrior, LearnedWindowPrior, WindowPrior
from scoreda.datasets import Climatology
from scoreda.diffusion import Prior
from scoreda.models import Model, require
from scoreda.observations import Observation
from scoreda.observations.arrays import Array, host, library, like

__all__ = ["Score4D"]


class Score4D:
    """Sliding-window filter with a learned prior; needs the tangent-linear model, and no ensemble to start from.

    Args:
        model: Must offer `"tangent"`, or `"torch"` with a device.
        prior: A learned `Prior`, or a `Climatology` for the same filter with a Gaussian prior.
        window: Observation times kept.
        particles: Start states tried when the truth has to be found.
        sigma: Smallest noise level of the prior, physical units.
        reacquire: Latest observation times used when the basin was wrong: when the misfit of the window is more than
            five standard deviations above its mean, both as if errors were Gaussian.
        tolerance: Of the Gauss-Newton iteration, in posterior standard deviations.
        device: Where all that lies between an observation and its analysis runs, in torch. By default that of a prior
            on a GPU, if the model offers `"torch"`; otherwise it runs in NumPy.

    Errors count as Gaussian with their covariance, whatever their distribution. With heavier tails the misfit exceeds
    five standard deviations more often, and that of a Student-t with up to four degrees of freedom has none: outliers
    then cost a search that was not needed, and the observations before it.

    Exact when: model and operator are linear, errors and prior Gaussian: mean and covariance are the Kalman filter's
    as long as the window reaches back to the start.
    """

    name = "score4d"
    analyses_forecast = False

    def __init__(
        self,
        model: Model,
        prior: Prior | Climatology,
        window: int = 30,
        particles: int = 4,
        sigma: float = 0.2,
        reacquire: int = 10,
        tolerance: float = 0.01,
        device: torch.device | str | None = None,
    ) -> None:
        self.device = _device(prior, model) if device is None else torch.device(device)
        require(model, "tangent" if self.device is None else "torch", "Score4D")
        self.model = model
        self.window, self.particles = checked_count("window", window), checked_count("particles", particles)
        self.reacquire = min(checked_count("reacquire", reacquire), self.window)
        self.sigma, self.tolerance = checked_positive("sigma", sigma), checked_positive("tolerance", tolerance)
        self.prior: WindowPrior = (
            LearnedWindowPrior(prior) if isinstance(prior, Prior) else GaussianWindowPrior(prior, self.device)
        )

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Start from the clock and the size of `ensemble` `(N, Nx)`; its values only serve the first forecast."""
        E = check_ensemble(ensemble, self.model.size)
        return State(time, E, self._memory(np.empty((0, 1, self.model.size)), time, self.prior.scale))

    @torch.no_grad()  # a model may be a network, whose weights are not what is looked for
    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Admit `obs`, drop what has left the window, move every particle to its mode, and sample the analysis."""
        evaluations = self.prior.evaluations
        E, steps = self._forecast(state, obs.time, rng)
        diagnostics = {"model_steps": float(steps * len(E)), "network_evals": 0.0}
        if obs.is_empty:
            return state.replace(time=obs.time, ensemble=E), Info(E, diagnostics)
        obs = obs.present()
        window, trajectories = self._slide(state, obs)
        modes, spread = self._modes(window, trajectories, float(state.memory["spread"]), rng)
        if len(trajectories) and _fit(modes[0], window) > 5 and len(window.past) >= self.reacquire:
            window, modes, spread = self._acquire(window, rng)
        analysis = _sample(modes, len(E), rng)
        memory = self._memory(host(_nodes(modes)), window.start, spread)
        diagnostics["model_steps"] += window.spent
        diagnostics["network_evals"] = float(self.prior.evaluations - evaluations)
        diagnostics |= dict(chi2=innovation_chi2(E, obs), modes=float(len(modes)), fit=_fit(modes[0], window))
        after = state.replace(time=obs.time, ensemble=analysis, memory=state.memory | memory, past=window.past)
        return after, Info(E, diagnostics)

    def _forecast(self, state: State, time: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Return the members at `time`, and how many steps each took: on the device, if there is one."""
        if self.device is None:
            return forecast_to(self.model, state.ensemble, state.time, time, rng)
        E, steps = torch.tensor(state.ensemble, device=self.device), whole_steps(self.model, state.time, time)
        return host(self.model.torch_step(E, steps)), steps  # type: ignore[attr-defined]

    @staticmethod
    def _memory(trajectories: np.ndarray, start: float, spread: float) -> dict[str, np.ndarray]:
        return {"modes": trajectories, "start": np.array(start), "spread": np.array(spread)}

    def _slide(self, state: State, obs: Observation) -> tuple[Window, Array]:
        """Return the window that ends with `obs`, and the previous modes from its start on."""
        trajectories, start, past = state.memory["modes"], float(state.memory["start"]), (*state.past, obs)
        if len(past) > self.window:
            trajectories, start, past = trajectories[:, 1:], past[0].time, past[1:]
        return self._window(start, past), trajectories

    def _window(self, start: float, past: tuple[Observation, ...], spent: int = 0) -> Window:
        """Return a window, on the device if there is one, after `spent` model steps."""
        if self.device is None:
            return KernelWindow(self.model, start, past, spent)
        return TorchWindow(self.model, start, past, self.device, spent)

    def _modes(
        self, window: Window, trajectories: Array, spread: float, rng: np.random.Generator
    ) -> tuple[list[Mode], float]:
        """Return the distinct modes reached, best first, and the posterior's spread at the window start.

        `spread` is that of the previous step: the prior is smoothed to half of it, so that its curvature is that of the
        region where the state may be.
        """
        levels = [max(self.sigma, spread / 2)]
        if not len(trajectories):
            trajectories = self.prior.starts(self.particles, self.model.size, rng)[:, None]
            levels = [self.prior.scale, *levels]
        modes = _distinct([self._climb(window, nodes, levels) for nodes in trajectories])
        return modes, modes[0].spread

    def _climb(self, window: Window, nodes: Array, levels: list[float]) -> Mode:
        """Return the mode reached from the first nodes of a trajectory, through falling noise levels of the prior."""
        nodes = window.extend(nodes)
        for sigma in levels:
            mode = find_mode(nodes, window, self.prior, sigma, tolerance=self.tolerance)
            nodes = mode.nodes
        return mode

    def _acquire(self, window: Window, rng: np.random.Generator) -> tuple[Window, list[Mode], float]:
        """Find the truth anew on the latest observations, admitted one at a time."""
        past = window.past[-self.reacquire :]
        start = window.past[-self.reacquire - 1].time if len(window.past) > self.reacquire else window.start
        trajectories, spread = np.empty((0, 1, self.model.size)), self.prior.scale
        for k in range(1, len(past) + 1):
            window = self._window(start, past[:k], window.spent)
            modes, spread = self._modes(window, trajectories, spread, rng)
            trajectories = _nodes(modes)
        return window, modes, spread


def _nodes(modes: list[Mode]) -> Array:
    """Return the trajectories of the modes, where they are: `(modes, K + 1, Nx)`."""
    return library(modes[0].nodes).stack([mode.nodes for mode in modes])


def _fit(mode: Mode, window: Window) -> float:
    """Return by how many standard deviations the misfit exceeds that of the truth, a chi-square of all observations.

    It is one if errors are Gaussian.
    """
    return float((2 * mode.window.misfit - window.size) / np.sqrt(2 * window.size))


def _distinct(modes: list[Mode], within: float = 15.0) -> list[Mode]:
    """Return the modes by evidence, best first, without copies and those `exp(-within)` as likely as the best."""
    modes = sorted(modes, key=lambda mode: -mode.log_evidence)
    kept: list[Mode] = []
    for mode in modes:
        likely = mode.log_evidence > modes[0].log_evidence - within
        if likely and all(_distance(mode, other) > 1 for other in kept):
            kept.append(mode)
    return kept or modes[:1]


def _distance(a: Mode, b: Mode) -> float:
    """Return the root-mean-square distance in posterior standard deviations."""
    d = a.nodes[0] - b.nodes[0]
    return float(d @ b.hessian.apply(b.hessian.w, d) / len(d)) ** 0.5


def _sample(modes: list[Mode], members: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the analysis ensemble at the window's end from the mixture of Laplace approximations.

    Deviations are carried by the tangent-linear model and centred, so with one mode the ensemble mean is the
    trajectory of the mode.
    """
    weights = np.exp([mode.log_evidence - modes[0].log_evidence for mode in modes])
    share = np.searchsorted(np.cumsum(weights / weights.sum()), (np.arange(members) + 0.5) / members)
    choice = np.minimum(share, len(modes) - 1)
    xi = rng.normal(size=(members, modes[0].nodes.shape[1]))
    xi = (xi - xi.mean(axis=0)) * np.sqrt(members / (members - 1))
    E = np.empty_like(xi)
    for k, mode in enumerate(modes):
        rows = choice == k
        deviations = mode.hessian.apply(mode.hessian.w**-0.5, like(xi[rows], mode.nodes)) @ mode.window.tangent
        E[rows] = host(mode.nodes[-1] + deviations)
    return E


def _device(prior: Prior | Climatology, model: Model) -> torch.device | None:
    """Return the GPU that the prior is on, if the model can follow it there."""
    if isinstance(prior, Prior) and prior.device.type != "cpu" and "torch" in model.offers:
        return prior.device
    return None
