r"""How much each noise level counts in a loss: weights $w(s)$ of $\lVert \hat x - x \rVert^2$ at $s = \sigma / \alpha$.

A weighting of one target is another weighting of another: the squared error of epsilon is that of the denoised state
times the signal-to-noise ratio, of v (VP) that times SNR + 1.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from scoreda.errors import ScoredaError, suggest

__all__ = ["WEIGHTINGS", "Weighting", "edm", "min_snr", "snr", "uniform", "weighting_by_name"]

Weighting = Callable[[Tensor], Tensor]


def uniform(s: Tensor) -> Tensor:
    """Return 1: the squared error of the denoised state."""
    return torch.ones_like(s)


def snr(s: Tensor) -> Tensor:
    """Return the signal-to-noise ratio: the squared error of epsilon, or sigma^2 times that of the score."""
    return s**-2


def min_snr(s: Tensor, gamma: float = 5.0) -> Tensor:
    """Return min(SNR, gamma) (Hang et al. 2023, eq. 9, https://arxiv.org/abs/2303.09556)."""
    return snr(s).clamp_max(gamma)


def edm(s: Tensor, sigma_data: float = 1.0) -> Tensor:
    """Return (s^2 + sd^2) / (s sd)^2, which makes all levels count alike at the start (Karras et al. 2022, table 1)."""
    return (s**2 + sigma_data**2) / (s * sigma_data) ** 2


WEIGHTINGS: dict[str, Callable[..., Tensor]] = {
    "uniform": uniform, "snr": snr, "min_snr": min_snr, "edm": edm, "score": snr,
}  # fmt: skip


def weighting_by_name(name: str, sigma_data: float = 1.0) -> Weighting:
    """Return a weighting by its name; for min-SNR with another gamma use `functools.partial(min_snr, gamma=...)`.

    Raises:
        ScoredaError: if there is none of that name.
    """
    if name not in WEIGHTINGS:
        raise ScoredaError(f"unknown weighting '{name}'; {suggest(name, [*WEIGHTINGS, 'none'])}")
    return partial(edm, sigma_data=sigma_data) if name == "edm" else WEIGHTINGS[name]
