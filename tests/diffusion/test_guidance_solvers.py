"""Solvers of many small systems at once, against elimination."""

import pytest
import torch

from scoreda.diffusion.guidance.solvers import SOLVERS, solver_by_name
from scoreda.errors import ScoredaError

F64 = torch.float64


def systems(symmetric, rows=5, n=7):
    """One matrix for each row: a shifted Wishart matrix, and something skew on top of it."""
    B = torch.randn(rows, n, n, generator=torch.Generator().manual_seed(0), dtype=F64)
    A = B @ B.mT / n + torch.eye(n, dtype=F64)
    return (A if symmetric else A + (B - B.mT) / 2), torch.randn(
        rows, n, generator=torch.Generator().manual_seed(1), dtype=F64
    )


def product(A):
    return lambda u: torch.einsum("bij,bj->bi", A, u)


@pytest.mark.parametrize("name, symmetric", [("cg", True), ("gmres", True), ("gmres", False), ("exact", False)])
def test_that_a_solver_agrees_with_elimination(name, symmetric):
    A, b = systems(symmetric)
    torch.testing.assert_close(solver_by_name(name)(product(A), b), torch.linalg.solve(A, b), rtol=1e-5, atol=1e-5)


def test_that_gmres_of_k_vectors_has_the_smallest_residual_of_its_krylov_space():
    A, b = systems(symmetric=False)
    krylov = torch.stack([b, product(A)(b), product(A)(product(A)(b))], dim=-1)
    best = krylov @ torch.linalg.pinv(A @ krylov) @ b[..., None]
    torch.testing.assert_close(solver_by_name("gmres", 3)(product(A), b), best[..., 0])


@pytest.mark.parametrize("name", SOLVERS)
def test_that_a_row_solved_early_is_right_and_no_row_sees_another(name):
    A, b = systems(symmetric=True)
    A[1], b[2] = 3 * torch.eye(7, dtype=F64), 0.0
    together = solver_by_name(name)(product(A), b)
    alone = torch.cat([solver_by_name(name)(product(A[k : k + 1]), b[k : k + 1]) for k in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(together[1], b[1] / 3)
    assert (together[2] == 0).all()


@pytest.mark.parametrize("name, iterations", [("exact", 3), ("cg", 0)])
def test_that_iterations_without_meaning_are_refused(name, iterations):
    with pytest.raises(ValueError, match="`iterations` must be at least 1 and is for cg and gmres"):
        solver_by_name(name, iterations)


def test_that_an_unknown_solver_is_answered_with_the_nearest():
    with pytest.raises(ScoredaError, match="did you mean 'gmres'"):
        solver_by_name("gmre")


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("iterations", [1, None])
def test_that_what_a_product_says_beside_follows_the_solution(name, iterations):
    A, b = systems(symmetric=True)
    M = torch.randn(5, 4, 7, generator=torch.Generator().manual_seed(2), dtype=F64)
    solve = solver_by_name(name, None if name == "exact" else iterations)
    both = solve(product(torch.cat([A, M], dim=1)), b)
    torch.testing.assert_close(both, torch.cat([solve(product(A), b), product(M)(both[:, :7])], dim=1))
