r"""Denoisers: $\hat x(x_t, t) = E[x \mid x_t]$, learned or exact.

A denoiser is anything that is called as `denoiser(x_t, t)` and carries its `schedule`. The score follows from it,
$\nabla \log p(x_t) = (\alpha_t \hat x - x_t) / \sigma_t^2$ (Tweedie). A guidance method is a denoiser that wraps one.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from scoreda.diffusion.denoisers.base import Denoiser, score
from scoreda.diffusion.denoisers.compiled import Compiled
from scoreda.diffusion.denoisers.gaussian import CirculantGaussian, GaussianDenoiser
from scoreda.diffusion.denoisers.karras import KarrasDenoiser
from scoreda.diffusion.denoisers.learned import Conditioned, LearnedDenoiser
from scoreda.diffusion.denoisers.learned_weighting import LearnedWeighting
from scoreda.diffusion.denoisers.mixture import Empirical, GaussianMixture
from scoreda.diffusion.denoisers.parametrisations import TARGETS, Target, convert, target_by_name
from scoreda.diffusion.denoisers.target import NOISE_INPUTS, TargetDenoiser
from scoreda.diffusion.denoisers.weightings import WEIGHTINGS
from scoreda.diffusion.schedules import Schedule
from scoreda.errors import construct

__all__ = [
    "DENOISERS",
    "NOISE_INPUTS",
    "TARGETS",
    "WEIGHTINGS",
    "CirculantGaussian",
    "Compiled",
    "Conditioned",
    "Denoiser",
    "Empirical",
    "GaussianDenoiser",
    "GaussianMixture",
    "KarrasDenoiser",
    "LearnedDenoiser",
    "LearnedWeighting",
    "Target",
    "TargetDenoiser",
    "convert",
    "denoiser_from_spec",
    "score",
    "target_by_name",
]

DENOISERS: dict[str, Any] = {kind.name: kind for kind in (KarrasDenoiser, TargetDenoiser)}


def denoiser_from_spec(spec: Mapping[str, Any], network: nn.Module, schedule: Schedule) -> LearnedDenoiser:
    """Build a denoiser around a network and a schedule from `denoiser.spec()`.

    Raises:
        ScoredaError: if there is no denoiser of that name, or it has no such setting.
    """
    return construct("denoiser", spec, DENOISERS, network, schedule)
