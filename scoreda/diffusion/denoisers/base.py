"""What every denoiser is, and the score that follows from it."""

from typing import Protocol

import torch
from torch import Tensor

from scoreda.diffusion.schedules import Schedule, expand

__all__ = ["Denoiser", "score"]


class Denoiser(Protocol):
    """`denoiser(x_t, t) -> x_hat`, all of shape `(B, *)`; `t` a scalar or `(B,)`."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t]."""
        ...


def score(denoiser: Denoiser, x_t: Tensor, t: Tensor | float) -> Tensor:
    r"""Return $\nabla \log p(x_t) = (\alpha_t \hat x - x_t) / \sigma_t^2$ (Tweedie), the shape of `x_t` `(B, *)`."""
    t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
    alpha_t, sigma_t = expand(denoiser.schedule.alpha(t), x_t), expand(denoiser.schedule.sigma(t), x_t)
    return (alpha_t * denoiser(x_t, t) - x_t) / sigma_t**2
