"""A window in NumPy, one stretch after the other, by the tangent-linear version of the model."""

from collections.abc import Callable, Sequence

import numpy as np

from scoreda.assimilation.baselines.gaussian import whitener
from scoreda.assimilation.score.window import Linearisation, Window
from scoreda.models import Model
from scoreda.observations import ErrorModel, Observation

__all__ = ["KernelWindow"]


class KernelWindow(Window):
    """A `Window` of NumPy arrays; the model must offer `"tangent"`."""

    def __init__(self, model: Model, start: float, past: Sequence[Observation], spent: int = 0) -> None:
        super().__init__(model, start, past, spent)
        self._white = [_whitener(obs.error) for obs in past]

    def extend(self, nodes: np.ndarray) -> np.ndarray:
        """Return the nodes `(k, Nx)`, k >= 1, continued by the model to `(K + 1, Nx)`."""
        trajectory = list(nodes)
        for steps in self.steps[len(nodes) - 1 :]:
            trajectory.append(self._step(trajectory[-1][None], steps)[0])
        return np.stack(trajectory)

    def misfit(self, nodes: np.ndarray) -> np.ndarray:
        """Return J of trajectories `(..., K + 1, Nx)`."""
        d = [obs.values - obs.operator(nodes[..., k, :]) for k, obs in enumerate(self.past, start=1)]
        return 0.5 * sum((white(dk) ** 2).sum(axis=-1) for white, dk in zip(self._white, d, strict=True))

    def gaps(self, nodes: np.ndarray) -> np.ndarray:
        """Return `M_k(x_k) - x_{k+1}` of trajectories `(..., K + 1, Nx)`, shape `(..., K, Nx)`."""
        before, reached = nodes[..., :-1, :], np.empty_like(nodes[..., 1:, :])
        for steps in set(self.steps):
            same = np.flatnonzero(np.array(self.steps) == steps)
            rows = before[..., same, :]
            reached[..., same, :] = self._step(rows.reshape(-1, rows.shape[-1]), steps).reshape(rows.shape)
        return reached - nodes[..., 1:, :]

    def linearise(self, nodes: np.ndarray) -> Linearisation:
        """Return J and its derivatives about the nodes `(K + 1, Nx)`."""
        size = nodes.shape[1]
        # The last row carries what the gaps add to every later node.
        rows = np.concatenate([np.eye(size), np.zeros((1, size))])
        J, descent, hessian = 0.0, np.zeros(size), np.zeros((size, size))
        for k, (obs, white) in enumerate(zip(self.past, self._white, strict=True)):
            reached, rows = self._tangent(nodes[k], rows, self.steps[k])
            rows[-1] += reached - nodes[k + 1]
            x = nodes[k + 1]
            d, G = white(obs.values - obs.operator(x)), white(obs.operator.tangent(x, rows))
            J, hessian = J + 0.5 * float(d @ d), hessian + G[:-1] @ G[:-1].T
            descent = descent + G[:-1] @ (d - G[-1])
        return Linearisation(J, descent, hessian, rows[:-1])

    def move(self, nodes: np.ndarray, delta: np.ndarray) -> np.ndarray:
        """Return the change of every node, `(K + 1, Nx)`, when the first changes by `delta` and the gaps close."""
        change = [delta]
        for x, following, steps in zip(nodes[:-1], nodes[1:], self.steps, strict=True):
            reached, row = self._tangent(x, change[-1][None], steps)
            change.append(row[0] + reached - following)
        return np.stack(change)

    def _step(self, E: np.ndarray, steps: int) -> np.ndarray:
        self.spent += steps * len(E)
        return self.model.step(E, steps)

    def _tangent(self, x: np.ndarray, dX: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        self.spent += steps * (1 + len(dX))
        return self.model.tangent(x, dX, steps)  # type: ignore[attr-defined]


def _whitener(error: ErrorModel) -> Callable[[np.ndarray], np.ndarray]:
    """Return `whitener(error)`; where errors are independent it divides, which rounds less."""
    std = error.std
    return (lambda d: d / std) if error.independent else whitener(error)
