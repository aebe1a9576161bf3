"""The loss of a batch."""

from torch import Tensor, nn

from scoreda.diffusion.training.samples import Batch

__all__ = ["Objective"]


class Objective(nn.Module):
    """The mean loss of a batch as a module of its own, which is what data-parallel training wraps.

    Args:
        denoiser: Offers `loss`; see `LearnedDenoiser`.
        norm: `"l2"` or `"l1"`.
    """

    def __init__(self, denoiser: nn.Module, norm: str = "l2") -> None:
        super().__init__()
        self.denoiser, self.norm = denoiser, norm

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        told = {} if batch.condition is None else dict(condition=batch.condition, given=batch.given)
        loss: Tensor = self.denoiser.loss(  # type: ignore[operator]
            batch.x, batch.ratio, batch.eps, norm=self.norm, known=batch.known, **told
        )
        return loss.mean()
