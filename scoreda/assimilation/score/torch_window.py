r"""A window in torch, on any device, all stretches side by side.

The derivatives $M_k$ of all stretches, from one observation time to the next, come in one batch, by forward
differentiation of the model's torch version. Only their products $M_k \cdots M_0$ are taken in turn.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vmap

from scoreda.assimilation.baselines.gaussian import whitener
from scoreda.assimilation.score.window import Linearisation, Window
from scoreda.models import Model
from scoreda.observations import ErrorModel, Observation, Operator, carried_to

__all__ = ["TorchWindow"]

Whitener = Callable[[Tensor], Tensor]


class TorchWindow(Window):
    """A `Window` of double-precision tensors; the model must offer `"torch"`, and operators take tensors.

    Args:
        model, start, past, spent: As of every window.
        device: Of all tensors.
    """

    def __init__(
        self, model: Model, start: float, past: Sequence[Observation], device: torch.device, spent: int = 0
    ) -> None:
        super().__init__(model, start, past, spent)
        self.device = device
        self._networks, self._stretches = list(self._by_operator()), list(self._by_length())
        self._known: tuple[Tensor, Tensor, Tensor] | None = None

    def extend(self, nodes: np.ndarray | Tensor) -> Tensor:
        """Return the nodes `(k, Nx)`, k >= 1, continued by the model to `(K + 1, Nx)`."""
        trajectory = list(self._tensor(nodes))
        for steps in self.steps[len(nodes) - 1 :]:
            self.spent += steps
            trajectory.append(self._model(steps)(trajectory[-1]))
        return torch.stack(trajectory)

    def misfit(self, nodes: Tensor) -> Tensor:
        """Return J of trajectories `(..., K + 1, Nx)`."""
        total = nodes.new_zeros(nodes.shape[:-2])
        for operator, times, y, white in self._networks:
            d = white((y - operator(nodes[..., times + 1, :]))[..., None, :])[..., 0, :]
            total = total + 0.5 * (d**2).sum((-2, -1))
        return total

    def gaps(self, nodes: Tensor) -> Tensor:
        """Return `M_k(x_k) - x_{k+1}` of trajectories `(..., K + 1, Nx)`, shape `(..., K, Nx)`."""
        reached = torch.empty_like(nodes[..., 1:, :])
        for steps, stretches in self._stretches:
            before = nodes[..., stretches, :]
            self.spent += steps * before.shape[:-1].numel()
            reached[..., stretches, :] = self._model(steps)(before)
        return reached - nodes[..., 1:, :]

    def linearise(self, nodes: Tensor) -> Linearisation:
        """Return J and its derivatives about the nodes `(K + 1, Nx)`."""
        gaps, M = self._derivatives(nodes)
        eye = torch.eye(nodes.shape[1], dtype=nodes.dtype, device=self.device)
        rows, carried = torch.cat([eye, torch.zeros_like(eye[:1])]), []
        for gap, stretch in zip(gaps, M, strict=True):
            rows = rows @ stretch
            # The last row carries what the gaps add to every later node.
            rows = torch.cat([rows[:-1], rows[-1:] + gap])
            carried.append(rows)
        return self._quadratic(nodes, torch.stack(carried))

    def move(self, nodes: Tensor, delta: Tensor) -> Tensor:
        """Return the change of every node, `(K + 1, Nx)`, when the first changes by `delta` and the gaps close."""
        change = [delta]
        for gap, stretch in zip(*self._derivatives(nodes), strict=True):
            change.append(change[-1] @ stretch + gap)
        return torch.stack(change)

    def _quadratic(self, nodes: Tensor, rows: Tensor) -> Linearisation:
        """Return the misfit as a quadratic, given the rows that reach every observation time, `(K, Nx + 1, Nx)`."""
        size = nodes.shape[1]
        J, descent, hessian = nodes.new_zeros(()), nodes.new_zeros(size), nodes.new_zeros(size, size)
        for operator, times, y, white in self._networks:
            x = nodes[times + 1]
            d = white((y - operator(x))[:, None])[:, 0]
            G = white(_derivative(operator, x, rows[times]))
            hessian = hessian + torch.einsum("kin,kjn->ij", G[:, :-1], G[:, :-1])
            descent = descent + torch.einsum("kin,kn->i", G[:, :-1], d - G[:, -1])
            J = J + 0.5 * (d**2).sum()
        return Linearisation(J, descent, hessian, rows[-1, :-1])

    def _derivatives(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gaps `(K, Nx)` and the derivatives of every stretch, `(K, Nx, Nx)`; rows are directions.

        Those of the last nodes are kept: a step of the search needs them twice.
        """
        if self._known is None or self._known[0] is not nodes:
            K, size = len(self.steps), nodes.shape[1]
            M = nodes.new_empty(K, size, size)
            for steps, stretches in self._stretches:
                every = torch.eye(size, dtype=nodes.dtype, device=self.device).expand(len(stretches), size, size)
                self.spent += steps * len(stretches) * (1 + size)
                M[stretches] = _derivative(self._model(steps), nodes[stretches], every)
            self._known = nodes, self.gaps(nodes), M
        return self._known[1:]

    def _model(self, steps: int) -> Callable[[Tensor], Tensor]:
        return lambda x: self.model.torch_step(x, steps)  # type: ignore[attr-defined]

    def _by_length(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the lengths there are, with the indices of the stretches that have it."""
        for steps in sorted(set(self.steps)):
            yield steps, self._tensor([k for k, own in enumerate(self.steps) if own == steps], torch.int64)

    def _by_operator(self) -> Iterator[tuple[Operator, Tensor, Tensor, Whitener]]:
        """Yield every operator, the indices `(T,)` of the times it observes, values `(T, Ny)` and how to whiten."""
        groups: dict[int, list[int]] = {}
        for k, obs in enumerate(self.past):
            groups.setdefault(id(obs.operator), []).append(k)
        for times in groups.values():
            y = np.stack([self.past[k].values for k in times])
            white = self._whitener([self.past[k].error for k in times])
            values = self._tensor(y)
            yield carried_to(values, self.past[times[0]].operator), self._tensor(times, torch.int64), values, white

    def _whitener(self, errors: list[ErrorModel]) -> Whitener:
        """Return the map of residuals `(..., T, M, Ny)` after which the errors of T times are white."""
        if all(error.independent for error in errors):
            std = self._tensor(np.stack([error.std for error in errors]))
            return lambda d: d / std[:, None]
        roots = self._tensor(np.stack([whitener(error)(np.eye(error.size)) for error in errors]))
        return lambda d: d @ roots

    def _tensor(self, array: object, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.as_tensor(array, dtype=dtype, device=self.device)


def _derivative(function: Callable[[Tensor], Tensor], x: Tensor, rows: Tensor) -> Tensor:
    """Return the derivative at every `x` `(K, n)` along `rows` `(K, M, n)`, shape `(K, M, m)`."""
    along = lambda direction: jvp(function, (x,), (direction,))[1]
    return vmap(along, in_dims=1, out_dims=1)(rows)
