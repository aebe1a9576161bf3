"""Numba kernel of model III of Lorenz (2005): one row (member) at a time, padded so that no inner loop has a modulo."""

import numpy as np
from numba import njit

__all__ = ["tendencies"]


@njit(cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
def _pad(x, pad, out):
    """Copy `x` to the middle of `out`, with `pad` periodic cells before and after it."""
    n = x.size
    out[pad : pad + n] = x
    out[:pad] = x[n - pad :]
    out[pad + n :] = x[:pad]


@njit(cache=True, fastmath={"contract", "nsz", "arcp", "reassoc"}, error_model="numpy")
def _filter(p, pad, weights, out):
    """Apply symmetric weights to a padded row."""
    radius = weights.size // 2
    out[:] = 0.0
    for i in range(weights.size):
        w, start = weights[i], pad - radius + i
        for n in range(out.size):
            out[n] += w * p[start + n]


@njit(cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
def tendencies(E, box, splitter, K, b, c, forcing):
    """Return dz/dt of every row of `E`."""
    size = E.shape[1]
    pad = max(2 * K, splitter.size // 2, 2)
    out = np.empty_like(E)
    Z, X, Y, W, G = np.empty((5, size + 2 * pad))
    row = np.empty(size)
    for m in range(E.shape[0]):
        z, f = E[m], out[m]
        _pad(z, pad, Z)
        _filter(Z, pad, splitter, row)
        _pad(row, pad, X)
        _pad(z - row, pad, Y)
        _filter(X, pad, box, row)
        _pad(row, pad, W)
        for n in range(size):
            row[n] = W[pad + n - K] * X[pad + n + K]
        _pad(row, pad, G)
        _filter(G, pad, box, f)
        for n in range(size):
            i = pad + n
            short = Y[i - 1] * (b * b * Y[i + 1] + c * X[i + 1]) - Y[i - 2] * (b * b * Y[i - 1] + c * X[i - 1])
            f[n] += short - W[i - 2 * K] * W[i - K] - X[i] - b * Y[i] + forcing
    return out
