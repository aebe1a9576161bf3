r"""The inverse square root of a symmetric matrix as a sum of solutions of shifted systems.

$$ B^{-1/2} \approx \sum_k w_k (B + s_k)^{-1} $$

to rounding, where the eigenvalues of B lie between 1 and kappa. For a tridiagonal B the systems cost no more than
reading it, so the root applied to a vector needs no eigenvectors.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

__all__ = ["CLASSES", "Rules", "rule", "rules"]

CLASSES = 26  # rule c serves kappa up to 4^(c + 1), the last one all that double precision tells apart


class Rules(NamedTuple):
    """The rule of every class, in rows, behind a term of shift and weight 0: the inverse itself.

    Attributes:
        sizes: Number of terms.
        shifts: s_k of class c in row c, padded.
        weights: w_k.
    """

    sizes: np.ndarray
    shifts: np.ndarray
    weights: np.ndarray


def rule(kappa: float) -> tuple[np.ndarray, np.ndarray]:
    """Return shifts and weights, both ascending, for eigenvalues from 1 to `kappa`.

    Exact when: the number of terms is large; the error falls as exp(-2 pi^2 terms / (ln kappa + 3)).
    Source: Hale, Higham and Trefethen (2008), method 3, https://doi.org/10.1137/070700607
    """
    from scipy.special import ellipj, ellipkm1

    half = int(np.ceil(-np.log(np.finfo(float).eps) * (np.log(kappa) + 3) / (4 * np.pi**2)))
    quarter_period = ellipkm1(1 / kappa)
    u = (np.arange(half) + 0.5) * quarter_period / (2 * half)
    sn, cn, dn, _ = ellipj(u, 1 - 1 / kappa)
    s, w = (sn / cn) ** 2, quarter_period / (np.pi * half) * dn / cn**2
    # The upper half mirrors the lower one about sqrt(kappa), where the functions would lose digits.
    return np.append(s, (kappa / s)[::-1]), np.append(w, (w * np.sqrt(kappa) / s)[::-1])


@cache
def rules() -> Rules:
    """Return the rules of all classes."""
    shifts, weights = zip(*(rule(4.0 ** (c + 1)) for c in range(CLASSES)), strict=True)
    sizes = np.array([1 + len(s) for s in shifts])
    return Rules(sizes, _padded(shifts), _padded(weights))


def _padded(rows: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return rows of growing length as one array, with a zero before and zeros behind."""
    return np.array([np.pad(row, (1, len(rows[-1]) - len(row))) for row in rows])
