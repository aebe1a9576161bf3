"""What the denoisers around a network share: its call, what it is told, and the loss of a batch."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from scoreda.diffusion.denoisers.base import Denoiser
from scoreda.diffusion.schedules import Schedule, expand

__all__ = ["Conditioned", "LearnedDenoiser"]


class LearnedDenoiser(nn.Module, ABC):
    """A denoiser around a network; a method gives `forward`, `errors` and `spec`.

    What a conditional network is told, `condition` (and, in training, `given`: which samples have theirs), is passed on
    by name. Without a condition the network is called as `network(x, c_noise)`.

    Args:
        network: Called as `network(x, c_noise, **told)` with `x` `(B, *)` and `c_noise` `(B,)`; gives the shape of `x`.
        schedule: The schedule whose times `forward` is given.
    """

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.network, self.schedule = network, schedule

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, **told: Tensor | None) -> Tensor:
        """Return E[x | x_t, condition], the shape of `x_t`; `t` a scalar or `(B,)`."""

    @abstractmethod
    def errors(self, x: Tensor, ratio: Tensor, eps: Tensor, **told: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the weight of each sample's squared error, `(B,)`, and the error itself, the shape of `x`."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the denoiser around a network and a schedule."""

    def denoise(self, x: Tensor, s: Tensor, **told: Tensor | None) -> Tensor:
        """Denoise `x` `(B, *)` whose noise has standard deviation `s` `(B, 1, ...)` beside a signal not scaled."""
        t = self.schedule.time(s.flatten())
        return self(expand(self.schedule.alpha(t), x) * x, t, **told)

    def loss(
        self,
        x: Tensor,
        ratio: Tensor,
        eps: Tensor,
        norm: str = "l2",
        known: Tensor | None = None,
        **told: Tensor | None,
    ) -> Tensor:
        """Return the weighted error of each sample, shape `(B,)`.

        Args:
            x: Clean samples, `(B, *)`.
            ratio: Noise levels sigma / alpha, `(B,)`.
            eps: White noise, the shape of `x`.
            norm: "l2", the mean square, or "l1", the mean absolute error with the root of the weight.
            known: Which entries count, bool, the shape of `x`; default all.
            told: `condition` and `given`, as the network takes them.

        Raises:
            ValueError: if `norm` is neither.
        """
        if norm not in ("l1", "l2"):
            raise ValueError(f"`norm` must be 'l2' or 'l1', got '{norm}'.")
        weight, error = self.errors(x, ratio, eps, **told)
        if norm == "l2":
            return weight * _sample_mean(error.square(), known)
        return weight.sqrt() * _sample_mean(error.abs(), known)

    def given(self, condition: Tensor | None) -> Denoiser:
        """Return the denoiser of p(x | condition), or of p(x) for None."""
        return self if condition is None else Conditioned(self, condition)

    def ask(self, x: Tensor, c_noise: Tensor, **told: Tensor | None) -> Tensor:
        """Return the network's answer in the precision of `x`."""
        return self.network(x, c_noise, **{k: v for k, v in told.items() if v is not None}).to(x.dtype)


class Conditioned:
    """A conditional denoiser that has been told something.

    Args:
        denoiser: Takes a condition.
        condition: `(B or 1, Cc, *)`, or as the network takes it.
    """

    def __init__(self, denoiser: LearnedDenoiser, condition: Tensor) -> None:
        self.denoiser, self.condition, self.schedule = denoiser, condition, denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t, condition], the shape of `x_t`."""
        return self.denoiser(x_t, t, condition=self.condition)


def _sample_mean(v: Tensor, known: Tensor | None) -> Tensor:
    """Return the mean of every sample over its known entries, `(B,)`."""
    own = tuple(range(1, v.ndim))
    if known is None:
        return v.mean(dim=own)
    return v.where(known, 0).sum(dim=own) / known.sum(dim=own)
