"""Weighted particles, and the few functions of weights that a particle filter needs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Particles", "effective_size", "log_mean", "systematic"]


@dataclass(frozen=True)
class Particles:
    """Weighted draws of p(x | y).

    Args:
        x: States, shape `(N, *)`.
        log_weights: Logarithms of weights that sum to one, shape `(N,)`.
        ess: Effective sample size at every time, before any resampling there, shape `(steps,)`.
        log_evidence: Estimate of ln p(y); its exponential is unbiased for the prior that the discrete steps have.
    """

    x: Tensor
    log_weights: Tensor
    ess: Tensor
    log_evidence: float

    def equal(self, generator: torch.Generator) -> Tensor:
        """Return N draws of equal weight, shape `(N, *)`."""
        return self.x[systematic(self.log_weights, generator)]

    def mean(self, function: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """Return E[function(x) | y]."""
        return torch.tensordot(self.log_weights.exp(), function(self.x), dims=1)


def systematic(log_weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return N indices drawn by weight with one uniform number: weight w occurs N w times, rounded up or down."""
    n, device = len(log_weights), log_weights.device
    offset = torch.rand(1, generator=generator, device=generator.device, dtype=torch.float64).to(device)
    points = (torch.arange(n, device=device) + offset) / n
    return torch.searchsorted(log_weights.double().softmax(0).cumsum(0), points).clamp_max(n - 1)


def effective_size(log_weights: Tensor) -> Tensor:
    """Return 1 / sum(w^2) of normalised weights, between 1 and N."""
    return 1 / log_weights.softmax(0).square().sum()


def log_mean(log_w: Tensor) -> float:
    """Return ln mean(exp(log_w))."""
    return float(log_w.logsumexp(0)) - math.log(len(log_w))
