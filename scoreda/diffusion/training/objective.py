"""The loss of a batch."""

import torch
from torch import Tensor, nn

from scoreda.diffusion.training.samples import Batch

__all__ = ["Objective"]


class Objective(nn.Module):
    """The mean loss of a batch as a module of its own, which is what data-parallel training wraps.

    With the squared error and nothing missing it is the mean of `denoiser.loss`. Otherwise the denoiser's weighted
    errors are averaged over the entries that are known, sample by sample.

    Args:
        denoiser: Offers `loss` and `errors`.
        norm: `"l2"` or `"l1"`.
    """

    def __init__(self, denoiser: nn.Module, norm: str = "l2") -> None:
        super().__init__()
        self.denoiser, self.norm = denoiser, norm

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        told = {} if batch.condition is None else dict(condition=batch.condition, given=batch.given)
        if self.norm == "l2" and batch.known is None:
            return self.denoiser.loss(batch.x, batch.ratio, batch.eps, **told).mean()  # type: ignore[operator]
        weight, error = self.denoiser.errors(batch.x, batch.ratio, batch.eps, **told)  # type: ignore[operator]
        if self.norm == "l2":
            return (weight * _mean(error.square(), batch.known)).mean()
        return (weight.sqrt() * _mean(error.abs(), batch.known)).mean()


def _mean(v: Tensor, known: Tensor | None) -> Tensor:
    """Return the mean of every sample over its known entries, `(B,)`."""
    if known is None:
        return v.flatten(1).mean(1)
    return torch.where(known, v, 0).flatten(1).sum(1) / known.flatten(1).sum(1)
