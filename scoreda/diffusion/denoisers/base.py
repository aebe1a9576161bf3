"""What every denoiser is."""

from typing import Protocol

from torch import Tensor

from scoreda.diffusion.schedules import Schedule

__all__ = ["Denoiser"]


class Denoiser(Protocol):
    """`denoiser(x_t, t) -> x_hat`, all of shape `(B, *)`; `t` a scalar or `(B,)`."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t]."""
        ...
