r"""Classifier-free guidance: a network that was trained with and without a condition guides itself.

$$ \hat x_w = (1 + w)\, E[x \mid x_t, c] - w\, E[x \mid x_t] $$

Source: Ho & Salimans (2022), Classifier-free diffusion guidance, eq. 6 and algorithms 1-2,
https://arxiv.org/abs/2207.12598
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.schedules import Schedule

__all__ = ["ClassifierFree", "Conditional", "drop_condition"]


class Conditional(Protocol):
    """A denoiser that can be told something."""

    schedule: Schedule

    def given(self, condition: Tensor | None) -> Denoiser:
        """Return the denoiser of p(x | condition), or of p(x) for None."""
        ...


class ClassifierFree:
    r"""A denoiser that leans on what a condition changes.

    Args:
        denoiser: Conditional, trained with conditions dropped.
        condition: What is known, in the form that the denoiser takes.
        weight: 0 is the conditional distribution, the posterior if the condition is an observation; -1 the prior.
            Above 0 the scores are those of $p(x \mid c)^{1+w} p(x)^{-w}$ at every noise level, which sharpens: good for
            pictures, too little spread for data assimilation. Its samples follow no density of closed form.

    Raises:
        ValueError: if `weight` is not finite, or `denoiser` takes no condition.
    """

    def __init__(self, denoiser: Conditional, condition: Tensor, weight: float = 0.0) -> None:
        if not math.isfinite(weight):
            raise ValueError(f"`weight` must be finite, got {weight}. 0 is the conditional distribution itself.")
        if not hasattr(denoiser, "given"):
            raise ValueError(
                f"{type(denoiser).__name__} takes no condition: it has no `given`. Pass one trained with conditions."
            )
        self.schedule, self.weight = denoiser.schedule, weight
        self.conditional, self.unconditional = denoiser.given(condition), denoiser.given(None)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return (1 + w) E[x | x_t, c] - w E[x | x_t]; two evaluations."""
        return (1 + self.weight) * self.conditional(x_t, t) - self.weight * self.unconditional(x_t, t)


def drop_condition(condition: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Return which samples keep their condition `(B, *)`, `(B,)` bool: the `given` of a loss in training.

    Args:
        condition: One condition a sample, `(B, *)`.
        probability: Of a sample to be shown without; .1 to .2 in the paper.
        generator: Of the choice.

    Raises:
        ValueError: if `probability` is not one.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"`probability` must be in [0, 1], got {probability}. 0.1 is common.")
    kept = torch.rand(len(condition), generator=generator, device=generator.device) >= probability
    return kept.to(condition.device)
