"""Weights of particles, and equally weighted particles in their place."""

import numpy as np

from scoreda.observations import Observation

__all__ = [
    "checked_bandwidth",
    "effective_size",
    "log_likelihood",
    "normalised",
    "resampled",
    "survivors",
    "systematic",
]


def log_likelihood(E: np.ndarray, obs: Observation) -> np.ndarray:
    """Return ln p(y | x) of every member `(N,)`, whatever the distribution of the errors."""
    return obs.error.log_density(obs.values - obs.operator(E)).sum(-1)


def normalised(log_weights: np.ndarray) -> np.ndarray:
    """Return the weights `(N,)` that sum to one; the largest logarithm may be anything finite."""
    w = np.exp(log_weights - log_weights.max())
    return w / w.sum()


def effective_size(w: np.ndarray) -> float:
    """Return 1 / sum(w^2) of weights that sum to one, between 1 and N."""
    return float(1 / (w @ w))


def systematic(w: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return N ascending indices drawn by weight with one uniform number: weight w occurs N w times, up or down.

    Exact when: always unbiased; a member of weight w has N w offspring in the mean.
    Source: Kitagawa (1996), https://doi.org/10.1080/10618600.1996.10474692
    """
    N = len(w)
    return np.searchsorted(np.cumsum(w), (np.arange(N) + rng.random()) / N).clip(max=N - 1)


def survivors(index: np.ndarray) -> np.ndarray:
    """Reorder resampled indices so that every member that was drawn keeps its own place."""
    counts = np.bincount(index, minlength=len(index))
    kept = np.arange(len(index))
    kept[counts == 0] = np.repeat(kept, np.maximum(counts - 1, 0))
    return kept


def checked_bandwidth(h: float) -> float:
    """Return the bandwidth; ValueError if it is negative or not finite."""
    if not (np.isfinite(h) and h >= 0):
        raise ValueError(
            f"`bandwidth` must not be negative, got {h}. It is the kernel's std over the particles'; 0 repeats them as "
            "they are."
        )
    return float(h)


def resampled(E: np.ndarray, w: np.ndarray, bandwidth: float, rng: np.random.Generator) -> np.ndarray:
    r"""Return equally weighted particles `(N, Nx)`: systematic resampling, then a Gaussian kernel about each.

    $$ x_i = x_{k_i} + h\, P^{1/2} \xi_i $$

    with the weighted covariance P and the bandwidth h. The covariance grows by the factor 1 + h^2. Drawing the
    particles in towards their mean would undo that (Liu and West 2001), but a filter so regularised finds back less
    well: with 100 particles and h = 0.5 it lost Lorenz63 on three seeds of three, and this one on none.

    Source: Musso et al. (2001), https://doi.org/10.1007/978-1-4757-3437-9_12
    """
    chosen = E[systematic(w, rng)]
    if not bandwidth:
        return chosen
    A = E - w @ E
    P = (w[:, None] * A).T @ A
    return chosen + bandwidth * rng.multivariate_normal(np.zeros(len(P)), P, len(E), "ignore", method="eigh")
