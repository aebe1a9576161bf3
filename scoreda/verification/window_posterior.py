r"""The posterior of a window of observations by Monte Carlo, however many modes it has.

$$ p(x_0 \mid y_1 \ldots y_K) \propto N(x_0; m, P) \prod_k p(y_k \mid M_k(x_0)) $$

A Gaussian stands for what came before the window, and is forgotten as the window grows. The members start as draws from
it, and the likelihood comes in by degrees, its exponent rising from 0 to 1: at each they are weighted and resampled, so
that every mode keeps its share, and then moved by a Markov chain that leaves the posterior so far as it is.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from scoreda.assimilation.baselines.gaussian import square_root
from scoreda.assimilation.baselines.resampling import effective_size, log_likelihood, normalised, systematic
from scoreda.assimilation.protocol import forecast_to
from scoreda.models import Model
from scoreda.observations import Observation

__all__ = ["WindowPosterior", "window_posterior"]

ACCEPTED = 0.3  # share of the proposals that the length of a move is steered to

LogLikelihood = Callable[[np.ndarray], np.ndarray]


class WindowPosterior(NamedTuple):
    """Equally weighted draws at the start of the window and at its last observation, `(N, Nx)` each.

    `stages` is the number of exponents, `accepted` the share of accepted moves at the last one.
    """

    start: np.ndarray
    end: np.ndarray
    stages: int
    accepted: float


def window_posterior(
    model: Model,
    observations: Sequence[Observation],
    mean: np.ndarray,
    covariance: np.ndarray,
    rng: np.random.Generator,
    time: float = 0.0,
    members: int = 1000,
    moves: int = 20,
) -> WindowPosterior:
    """Sample the posterior of the states of a window.

    Args:
        model: Must be deterministic.
        observations: Those of the window, in the order of time.
        mean: Of the state at the start of the window, `(Nx,)`.
        covariance: Likewise `(Nx, Nx)`.
        rng: The only source of randomness.
        time: Of the start.
        members: Number of draws; some ten times Nx or more, for moves follow their covariance.
        moves: Moves of every member at each exponent, and three times as many at the last.

    Raises:
        ValueError: if the model is random, there are not at least Nx + 2 members, or no draw of the start can have led
            to the observations.

    Exact when: members -> inf or moves -> inf.
    Source: tempering: Del Moral et al. (2006), https://doi.org/10.1111/j.1467-9868.2006.00553.x; moves (generalised
    preconditioned Crank-Nicolson, about the members' own mean and covariance): Rudolf and Sprungk (2018),
    https://doi.org/10.1007/s10208-016-9340-x
    """
    if "random" in model.offers:
        raise ValueError("`model` must be deterministic: the posterior is that of its initial state. Take its `model`.")
    if members < model.size + 2:
        raise ValueError(f"`members` must be at least {model.size + 2}, for a covariance, got {members}. Pass 1000.")
    X, _ = square_root(covariance)

    def run(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        E, now, total = mean + z @ X, time, np.zeros(len(z))
        for obs in (obs.present() for obs in observations):
            E, now = forecast_to(model, E, now, obs.time, rng)[0], obs.time
            total += 0.0 if obs.is_empty else log_likelihood(E, obs)
        return E, total

    with np.errstate(over="ignore", invalid="ignore"):
        chains = _Chains(lambda z: run(z)[1], rng.normal(size=(members, len(X))), rng)
        if not np.isfinite(chains.values).any():
            raise ValueError("the observations are impossible after every draw of the start. Widen its `covariance`.")
        stages = _tempered(chains, moves, rng)
        return WindowPosterior(mean + chains.z @ X, run(chains.z)[0], stages, chains.accepted)


def _tempered(chains: "_Chains", moves: int, rng: np.random.Generator) -> int:
    """Take draws of a standard Gaussian to its product with the likelihood; return the number of exponents."""
    exponent, stages = 0.0, 0
    while exponent < 1:
        rise = _rise(chains.values, 1 - exponent)
        exponent, stages = min(exponent + rise, 1.0), stages + 1
        chains.keep(systematic(normalised(rise * chains.values), rng))
        chains.move(exponent, moves if exponent < 1 else 3 * moves)
    return stages


def _rise(values: np.ndarray, most: float) -> float:
    """Return by how much the exponent may rise: as far as half of the members count, by bisection of its logarithm."""

    def enough(rise: float) -> bool:
        return effective_size(normalised(rise * values)) >= len(values) / 2

    low, high = most * 1e-12, most
    if enough(most):
        return most
    for _ in range(40):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return float(low)


class _Chains:
    """Members `z` `(N, n)`, their log-likelihoods, and moves that keep N(0, I) times a power of the likelihood."""

    def __init__(self, function: LogLikelihood, z: np.ndarray, rng: np.random.Generator) -> None:
        self.function, self.z, self.rng = function, z, rng
        self.values = self._finite(z)
        self.length, self.accepted = 0.5, np.nan

    def keep(self, index: np.ndarray) -> None:
        """Replace the members by those of `index`."""
        self.z, self.values = self.z[index], self.values[index]

    def move(self, exponent: float, moves: int) -> None:
        """Draw towards the mean of the members and away again, which a Gaussian would accept at any `length`."""
        mean, root = self.z.mean(0), np.linalg.cholesky(np.atleast_2d(np.cov(self.z.T)))
        shares = []
        for _ in range(moves):
            xi = self.rng.normal(size=self.z.shape) @ root.T
            z = mean + np.sqrt(1 - self.length**2) * (self.z - mean) + self.length * xi
            values = self._finite(z)
            gain = _surplus(z, exponent * values, mean, root)
            gain -= _surplus(self.z, exponent * self.values, mean, root)
            taken = np.log(self.rng.random(len(gain))) < gain
            self.z[taken], self.values[taken] = z[taken], values[taken]
            shares.append(taken.mean())
            self.length = float(np.clip(self.length * np.exp(shares[-1] - ACCEPTED), 1e-3, 1.0))
        self.accepted = float(np.mean(shares))

    def _finite(self, z: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods, minus infinity where the model has left its range."""
        return np.nan_to_num(self.function(z), nan=-np.inf, posinf=-np.inf, neginf=-np.inf)


def _surplus(z: np.ndarray, log_likelihood: np.ndarray, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Return the logarithm of the target over the Gaussian of `mean` and covariance root root^T, but for a constant."""
    whitened = np.linalg.solve(root, (z - mean).T)
    return log_likelihood - 0.5 * (z**2).sum(1) + 0.5 * (whitened**2).sum(0)
