"""Ways to the inverse square root of the small symmetric matrices of ensemble filters.

    python benchmarks/inverse_roots.py   # a minute; writes results/inverse_roots.csv and prints it

C = (N - 1) I + Y R^-1 Y^T is formed once an analysis, in a local filter once a variable. `tridiagonal` is what the
package does (`baselines/inverse_root.py`); the others are LAPACK's eigenvectors (`numpy.linalg.eigh`), cyclic Jacobi
rotations, and the coupled Newton-Schulz iteration, which needs products only. All have one thread, and all but LAPACK
are compiled by Numba. `kappa` is the ratio of the largest eigenvalue to the smallest: 4 while a filter tracks
Lorenz96, more where observations are precise. Times are over that of `tridiagonal`, medians of rounds in which the ways
take turns; `error` is the largest difference from LAPACK's over the largest entry.
"""

from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
from numba import njit
from result_tables import write_table

from scoreda.assimilation.baselines.kernels import inverse_root

RESULTS = Path(__file__).parent / "results" / "inverse_roots.csv"
SIZES, KAPPAS, ROUNDS, SECONDS = (7, 20, 28, 40), (4.0, 100.0, 1e4), 15, 0.01

Way = Callable[[np.ndarray], np.ndarray]


def lapack(C: np.ndarray) -> np.ndarray:
    lam, U = np.linalg.eigh(C)
    return (U / np.sqrt(lam)) @ U.T


@njit(error_model="numpy")
def jacobi(C):
    """Turn pairs of axes until the largest entry beside the diagonal is rounding."""
    C, U = C.copy(), np.eye(len(C))
    scale = np.abs(C).max()
    for _ in range(30):
        largest = 0.0
        for p in range(len(C) - 1):
            for q in range(p + 1, len(C)):
                largest = max(largest, abs(C[p, q]))
                if abs(C[p, q]) < 1e-16 * scale:
                    continue
                ratio = (C[q, q] - C[p, p]) / (2 * C[p, q])
                t = np.copysign(1.0, ratio) / (abs(ratio) + np.sqrt(1 + ratio**2))
                c = 1 / np.sqrt(1 + t**2)
                s = t * c
                for M in (C, U):  # rows; those of U are eigenvectors
                    for j in range(len(C)):
                        M[p, j], M[q, j] = c * M[p, j] - s * M[q, j], s * M[p, j] + c * M[q, j]
                for i in range(len(C)):
                    C[i, p], C[i, q] = c * C[i, p] - s * C[i, q], s * C[i, p] + c * C[i, q]
        if largest < 1e-15 * scale:
            break
    return U.T @ (U / np.sqrt(np.diag(C)).reshape(-1, 1))


@njit(error_model="numpy")
def newton_schulz(C):
    """Iterate Y -> C^1/2 and Z -> C^-1/2 from C and 1, scaled so that it converges."""
    scale, one = np.sqrt((C**2).sum()), np.eye(len(C))
    Y, Z = C / scale, one
    for _ in range(60):
        T = 0.5 * (3 * one - Z @ Y)
        Y, Z = Y @ T, T @ Z
        if np.abs(T - one).max() < 1e-14:
            break
    return Z / np.sqrt(scale)


def matrix(N: int, kappa: float) -> np.ndarray:
    """Return (N - 1) I + Y Y^T with that ratio of eigenvalues; Y has a mean of zero and 40 columns."""
    Y = np.random.default_rng(N).normal(size=(N, 40))
    Y -= Y.mean(0)
    return (N - 1) * (np.eye(N) + (kappa - 1) / np.linalg.norm(Y, 2) ** 2 * Y @ Y.T)


def seconds(way: Way, C: np.ndarray, times: int) -> float:
    start = process_time()
    for _ in range(times):
        way(C)
    return (process_time() - start) / times


def row(N: int, kappa: float) -> dict[str, str]:
    """Return the times of one size and condition over that of ours."""
    C = matrix(N, kappa)
    ways: dict[str, Way] = {
        "tridiagonal": lambda C: inverse_root(C, N - 1.0),
        "lapack": lapack,
        "jacobi": jacobi,
        "newton_schulz": newton_schulz,
    }
    exact = lapack(C)
    errors = {name: np.abs(way(C) - exact).max() / np.abs(exact).max() for name, way in ways.items()}
    times = {name: max(3, round(SECONDS / seconds(way, C, 3))) for name, way in ways.items()}
    taken = np.array([[seconds(way, C, times[name]) for name, way in ways.items()] for _ in range(ROUNDS)])
    ratios = dict(zip(ways, np.median(taken / taken[:, :1], axis=0), strict=True))
    found = dict(members=str(N), kappa=f"{kappa:g}")
    for name in list(ways)[1:]:
        found[name] = f"{ratios[name]:.2f}"
    return found | {f"{name}_error": f"{error:.0e}" for name, error in errors.items() if name != "lapack"}


if __name__ == "__main__":
    rows = []
    for N in SIZES:
        for kappa in KAPPAS:
            rows.append(row(N, kappa))
            print(*(f"{name} {value:>7}" for name, value in rows[-1].items()), flush=True)
    write_table(RESULTS, rows)
