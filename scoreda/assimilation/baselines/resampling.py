"""Weights of particles, and equally weighted particles in their place."""

from dataclasses import dataclass

import numpy as np

from scoreda.observations import Observation

__all__ = [
    "Resampling",
    "effective_size",
    "log_likelihood",
    "normalised",
    "resampled",
    "survivors",
    "systematic",
]

SPREAD = 0.01  # of the weight that one of equal particles has, spread over all where one may have nearly everything


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


def resampled(
    E: np.ndarray,
    w: np.ndarray,
    bandwidth: float,
    rng: np.random.Generator,
    shrinkage: bool = False,
    duplicates_only: bool = False,
) -> np.ndarray:
    r"""Return equally weighted particles `(N, Nx)`: systematic resampling, then a Gaussian kernel about each.

    $$ x_i = x_{k_i} + h\, P^{1/2} \xi_i $$

    with the weighted mean m and covariance P and the bandwidth h. The covariance grows by the factor 1 + h^2. With
    shrinkage the kernels sit closer to the mean, and mean and covariance are kept in expectation:

    $$ x_i = m + \sqrt{1 - h^2}\, (x_{k_i} - m) + h\, P^{1/2} \xi_i $$

    Such a filter is less biased, but finds back less well: with 100 particles and h = 0.5 it lost Lorenz63 on three
    seeds of three, and the one without on none.

    With `duplicates_only` the first offspring of each particle stays where it is, and P is the unbiased covariance,
    which does not vanish when nearly all weight is on one particle: that alone would leave N equal ones for good. A
    weight of 0.01 / N is then spread over all of them.

    Source: Musso et al. (2001), https://doi.org/10.1007/978-1-4757-3437-9_12; shrinkage: West (1993),
        https://doi.org/10.1111/j.2517-6161.1993.tb01911.x, and Liu and West (2001),
        https://doi.org/10.1007/978-1-4757-3437-9_10
    """
    index = systematic(w, rng)
    chosen = E[index]
    if not bandwidth:
        return chosen
    mean, P = _unbiased(E, w) if duplicates_only else _moments(E, w)
    if shrinkage:
        chosen = mean + np.sqrt(1 - bandwidth**2) * (chosen - mean)
    kernels = bandwidth * rng.multivariate_normal(np.zeros(len(P)), P, len(E), "ignore", method="eigh")
    if duplicates_only:
        kernels[np.diff(index, prepend=-1) > 0] = 0
    return chosen + kernels


def _moments(E: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the weighted particles."""
    mean = w @ E
    A = E - mean
    return mean, (w[:, None] * A).T @ A


def _unbiased(E: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the unbiased covariance of the weighted particles, with some weight on all of them."""
    spread = SPREAD / len(w)
    w = (1 - spread) * w + spread / len(w)
    mean, P = _moments(E, w)
    return mean, P / (1 - w @ w)


@dataclass(frozen=True)
class Resampling:
    """When particles are resampled, and how equal ones are parted.

    Args:
        bandwidth, shrinkage, duplicates_only: Of the kernel, as for `resampled`.
        threshold: Share of the members; particles are resampled when fewer than that are effective, with 1 always.

    Raises:
        ValueError: if one is out of range, or `duplicates_only` meets shrinkage, which moves every particle.
    """

    bandwidth: float
    shrinkage: bool = False
    threshold: float = 1.0
    duplicates_only: bool = False

    def __post_init__(self) -> None:
        _check_kernel(self.bandwidth, self.shrinkage)
        if not 0 <= self.threshold <= 1:
            raise ValueError(
                f"`threshold` must be in [0, 1], got {self.threshold}. It is a share of the members; 1 resamples at "
                "every observation time, 0 never."
            )
        if self.duplicates_only and self.shrinkage:
            raise ValueError(
                "`duplicates_only` leaves particles where they are, got shrinkage too, which moves them all. Pass "
                "one of the two."
            )

    def is_due(self, w: np.ndarray) -> bool:
        """Return whether particles with the weights `w` `(N,)` are to be resampled."""
        return self.threshold == 1 or effective_size(w) < self.threshold * len(w)

    def __call__(self, E: np.ndarray, w: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return equally weighted particles in the place of `E` `(N, Nx)`."""
        return resampled(E, w, self.bandwidth, rng, self.shrinkage, self.duplicates_only)


def _check_kernel(h: float, shrinkage: bool) -> None:
    if not (np.isfinite(h) and h >= 0):
        raise ValueError(
            f"`bandwidth` must not be negative, got {h}. It is the kernel's std over the particles'; 0 repeats them as "
            "they are."
        )
    if shrinkage and h > 1:
        raise ValueError(
            f"`bandwidth` must not be above 1 with shrinkage, got {h}. At 1 the particles are drawn from the Gaussian "
            "of their mean and covariance."
        )
