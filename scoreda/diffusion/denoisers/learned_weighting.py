"""A weight for every noise level, learned with the denoiser."""

from typing import Any

import torch
from torch import Tensor, nn

from scoreda.diffusion.denoisers.base import Denoiser
from scoreda.diffusion.denoisers.learned import LearnedDenoiser
from scoreda.diffusion.networks import NoiseEmbedding
from scoreda.diffusion.schedules import Schedule

__all__ = ["LearnedWeighting"]


class LearnedWeighting(nn.Module):
    r"""A denoiser whose loss $\mathcal L$ is balanced over noise levels while it trains: $\mathcal L / e^u + u$.

    The u of a noise level that minimises it is the logarithm of the mean loss there, so every level comes to count
    alike. Denoised states are those of the denoiser inside, which is what to keep.

    Args:
        denoiser: Any learned denoiser.
        width: Of the small network for u.

    Source: Karras et al. (2024), Analyzing and improving the training dynamics of diffusion models, eq. 21,
    https://arxiv.org/abs/2312.02696
    """

    def __init__(self, denoiser: LearnedDenoiser, width: int = 32) -> None:
        super().__init__()
        last = nn.Linear(width, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.denoiser, self.u = denoiser, nn.Sequential(NoiseEmbedding(width, scale=4.0), last)

    @property
    def schedule(self) -> Schedule:
        """The schedule of the denoiser inside."""
        return self.denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, **told: Tensor | None) -> Tensor:
        """Return the denoised states."""
        return self.denoiser(x_t, t, **told)

    def given(self, condition: Tensor | None) -> Denoiser:
        """Return the denoiser of p(x | condition), or of p(x) for None."""
        return self.denoiser.given(condition)

    def log_loss(self, ratio: Tensor) -> Tensor:
        """Return u, the logarithm of the mean loss at noise levels sigma / alpha `(B,)`; 0 before training."""
        return self.u(ratio.log() / 4)[:, 0]

    def loss(self, x: Tensor, ratio: Tensor, eps: Tensor, norm: str = "l2", **settings: Any) -> Tensor:
        """Return the balanced loss of each sample, `(B,)`, which may be negative; arguments as for the denoiser."""
        u = self.log_loss(ratio)
        return self.denoiser.loss(x, ratio, eps, norm, **settings) * torch.exp(-u) + u
