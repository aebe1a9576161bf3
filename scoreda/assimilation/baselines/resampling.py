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
    """Return the bandwidth; ValueError if it is not in [0, 1)."""
    if not 0 <= h < 1:
        raise ValueError(
            f"`bandwidth` must be in [0, 1), got {h}. It is the kernel's part of the spread; 0 repeats particles as "
            "they are."
        )
    return float(h)


def resampled(E: np.ndarray, w: np.ndarray, bandwidth: float, rng: np.random.Generator) -> np.ndarray:
    r"""Return equally weighted particles `(N, Nx)`: systematic resampling, then a Gaussian kernel about each.

    $$ x_i = \bar x + \sqrt{1 - h^2}\, (x_{k_i} - \bar x) + h\, P^{1/2} \xi_i $$

    with the weighted mean and covariance P and the bandwidth h; drawing in towards the mean keeps both as they were.

    Source: Liu and West (2001), https://doi.org/10.1007/978-1-4757-3437-9_10
    """
    chosen = E[systematic(w, rng)]
    if not bandwidth:
        return chosen
    mean = w @ E
    A = E - mean
    jitter = rng.multivariate_normal(np.zeros(len(mean)), (w[:, None] * A).T @ A, len(E), "ignore", method="eigh")
    return mean + np.sqrt(1 - bandwidth**2) * (chosen - mean) + bandwidth * jitter
