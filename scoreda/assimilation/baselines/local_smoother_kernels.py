"""Numba kernel of the local iterative smoother."""

from typing import Any

import numpy as np
from numba import njit

__all__ = ["local_newton"]

OPTIONS: dict[str, Any] = dict(cache=True, error_model="numpy")


@njit(**OPTIONS)
def local_newton(W, A, Y, d, start, obs, weight):
    """Return a Gauss-Newton step `(N, Nx)` of every variable's weights `W`, and the anomalies `(N, Nx)` it leaves.

    With the whitened anomalies Y and residuals d near a variable, their likelihood raised to the taper, and
    C = (N-1) I + Y taper Y^T: step = C^-1 (Y taper d - (N-1) w), anomalies = sqrt(N-1) C^-1/2 a.
    """
    N, Nx = A.shape
    step, anomalies = np.empty((N, Nx)), np.empty((N, Nx))
    for i in range(Nx):
        near, taper = obs[start[i] : start[i + 1]], weight[start[i] : start[i + 1]]
        Z = Y[:, near]
        S = Z * taper
        C = S @ Z.T
        for m in range(N):
            C[m, m] += N - 1
        lam, U = np.linalg.eigh(C)
        g = S @ d[near] - (N - 1) * W[:, i]
        step[:, i] = U @ ((U.T @ g) / lam)
        anomalies[:, i] = U @ (np.sqrt((N - 1) / lam) * (U.T @ np.ascontiguousarray(A[:, i])))
    return step, anomalies
