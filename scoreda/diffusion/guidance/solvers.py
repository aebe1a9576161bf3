"""Solvers of `A u = b` for one small system per batch row, `A` known by its products; rows never mix.

A product may say more of `u` than `A u`: behind that, the product with any other matrix, `M u`. Then `M u` of the
solution follows the solution, and no further product is needed for it.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from scoreda.errors import choose

__all__ = ["SOLVERS", "Product", "Solver", "conjugate_gradient", "exact", "gmres", "solver_by_name"]

Product = Callable[[Tensor], Tensor]
Solver = Callable[[Product, Tensor], Tensor]


def conjugate_gradient(A: Product, b: Tensor, iterations: int | None = None, tolerance: float = 1e-6) -> Tensor:
    """Solve `A u = b` for every row of `b` `(B, n)`; each row stops changing once its residual is below tolerance.

    Rows never mix, so the answer for a row does not depend on the batch.
    """
    found, r = torch.zeros_like(b[..., :1]), b
    p, rr = r, r.square().sum(-1, keepdim=True)
    target = tolerance**2 * rr
    for k in range(2 * b.shape[-1] if iterations is None else iterations):
        active = rr > target
        if k and not bool(active.any()):  # the first product tells how wide the answer is
            break
        Ap, Mp = _parts(A(p), b)
        curvature = (p * Ap).sum(-1, keepdim=True)
        # A network's Jacobian is not exactly positive; a row that meets negative curvature keeps what it has.
        active = active & (curvature > 0)
        step = torch.where(active, rr / curvature.where(active, torch.ones_like(curvature)), torch.zeros_like(rr))
        found, r = found + step * torch.cat([p, Mp], dim=-1), r - step * Ap
        new = torch.where(active, r.square().sum(-1, keepdim=True), torch.zeros_like(rr))
        p, rr = r + new / rr.clamp_min(torch.finfo(b.dtype).tiny) * p, new
    return found


def gmres(A: Product, b: Tensor, iterations: int | None = None, tolerance: float = 1e-6) -> Tensor:
    """Solve `A u = b` with any `A` by the smallest residual in its Krylov space of `iterations` (default n) vectors.

    Source: Saad and Schultz (1986), https://doi.org/10.1137/0907058
    """
    k = b.shape[-1] if iterations is None else min(iterations, b.shape[-1])
    Q, W, found = [_unit(b, torch.zeros_like(b[..., :1]))], [], []
    for _ in range(k):
        w, Mq = _parts(A(Q[-1]), b)
        W.append(w)
        found.append(torch.cat([Q[-1], Mq], dim=-1))
        Q.append(_unit(_orthogonal(w, Q), tolerance * w.norm(dim=-1, keepdim=True)))
    basis, images = torch.stack(found, dim=-1), torch.stack(W, dim=-1)
    # The pseudo-inverse passes over the zero vectors of a row whose Krylov space was exhausted early.
    return (basis @ torch.linalg.pinv(images) @ b[..., None])[..., 0]


def exact(A: Product, b: Tensor) -> Tensor:
    """Solve `A u = b` by building `A`, at n products, and elimination."""
    eye = torch.eye(b.shape[-1], dtype=b.dtype, device=b.device)
    columns, M = _parts(torch.stack([A(e.expand_as(b)) for e in eye], dim=-2).mT, b, axis=-2)
    u = torch.linalg.solve(columns, b[..., None])
    return torch.cat([u, M @ u], dim=-2)[..., 0]


SOLVERS: dict[str, Callable[..., Tensor]] = dict(cg=conjugate_gradient, gmres=gmres, exact=exact)


def solver_by_name(name: str, iterations: int | None = None) -> Solver:
    """Return the solver called `name`, with that many iterations.

    Raises:
        ScoredaError: if there is none of that name.
        ValueError: if `iterations` is below 1, or the solver has none.
    """
    solver = choose("solver", name, SOLVERS)
    if iterations is None:
        return solver
    if name == "exact" or iterations < 1:
        raise ValueError(f"`iterations` must be at least 1 and is for cg and gmres, got {iterations} with '{name}'.")
    return partial(solver, iterations=iterations)


def _parts(both: Tensor, b: Tensor, axis: int = -1) -> tuple[Tensor, Tensor]:
    """Return A u and M u."""
    n = b.shape[-1]
    return both.narrow(axis, 0, n), both.narrow(axis, n, both.shape[axis] - n)


def _unit(w: Tensor, floor: Tensor) -> Tensor:
    """Return `w` with rows of length one, or zero where they are not longer than `floor`."""
    norm = w.norm(dim=-1, keepdim=True)
    return torch.where(norm > floor, w / norm.clamp_min(torch.finfo(w.dtype).tiny), torch.zeros_like(w))


def _orthogonal(w: Tensor, Q: list[Tensor]) -> Tensor:
    for q in Q:
        w = w - (q * w).sum(-1, keepdim=True) * q
    return w
