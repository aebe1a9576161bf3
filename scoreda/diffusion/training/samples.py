"""Training data on the device, and the batches that are drawn from them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Batch", "Samples", "prepared"]


@dataclass(frozen=True, eq=False)
class Samples:
    """Normalised samples and what is known of each.

    Attributes:
        x: Shape `(n, C, L)` or `(n, C, H, W)`.
        condition: What the denoiser is told of each sample, `(n, ...)`, or None.
        known: Which entries of `x` count, its shape; None for all. Made by `prepared`.
    """

    x: Tensor
    condition: Tensor | None = None
    known: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor | slice) -> "Samples":
        """Return some of the samples."""
        return Samples(*_each(lambda v: v[index], self.x, self.condition, self.known))

    def to(self, device: torch.device) -> "Samples":
        """Return the samples on a device."""
        return Samples(*_each(lambda v: v.to(device), self.x, self.condition, self.known))


class Batch(NamedTuple):
    """What a loss is computed of: samples, noise level and noise of each.

    Attributes:
        x: Clean samples `(B, C, *)`.
        ratio: Noise-to-signal ratios sigma / alpha, `(B,)`.
        eps: White noise of the shape of `x`.
        condition: `(B, ...)` or None.
        given: Which samples are told their condition, `(B,)` bool, or None.
        known: Entries that count, of the shape of `x`, or None for all.
    """

    x: Tensor
    ratio: Tensor
    eps: Tensor
    condition: Tensor | None = None
    given: Tensor | None = None
    known: Tensor | None = None

    def part(self, where: slice) -> "Batch":
        """Return some rows."""
        return Batch(*_each(lambda v: v[where], *self))

    def parts(self, number: int) -> Iterator["Batch"]:
        """Yield the batch in `number` parts of nearly the same size."""
        bounds = [round(k * len(self.x) / number) for k in range(number + 1)]
        yield from (self.part(slice(*pair)) for pair in zip(bounds[:-1], bounds[1:], strict=True))


def _each(f: Callable[[Tensor], Tensor], *tensors: Tensor | None) -> list[Any]:
    return [None if v is None else f(v) for v in tensors]


def prepared(name: str, data: Tensor | np.ndarray | Samples, network: nn.Module, mask: bool) -> Samples:
    """Check samples, and turn NaN into entries that do not count if `mask` is set.

    Raises:
        ValueError: if there are none, they do not fit the network, or hold what is not finite.
    """
    if isinstance(data, np.ndarray):
        data = torch.as_tensor(data, dtype=next(network.parameters()).dtype)
    samples = data if isinstance(data, Samples) else Samples(data)
    if len(samples) == 0:
        raise ValueError(f"`{name}` is empty. Pass at least one sample.")
    _check_fit(name, samples, network)
    samples = _masked(name, samples) if mask else samples
    _check_finite(name, samples.x)
    return samples


def _check_fit(name: str, samples: Samples, network: nn.Module) -> None:
    x, dtype = samples.x, next(network.parameters()).dtype
    dimensions, channels = getattr(network, "dimensions", None), getattr(network, "channels", None)
    if dimensions and x.ndim != dimensions + 2:
        raise ValueError(
            f"`{name}` has shape {tuple(x.shape)}, the network takes (n, channels) and {dimensions} axes of space. "
            "Reshape the samples, or make a network of their number of dimensions."
        )
    found = x[0].numel() if dimensions == 0 else x.shape[1]
    if channels not in (None, found):
        raise ValueError(
            f"`{name}` has {found} channels (shape {tuple(x.shape)}), the network {channels}. "
            f"Make the network with channels={found}."
        )
    if x.dtype != dtype:
        raise ValueError(f"`{name}` is {x.dtype}, the network {dtype}. Pass {name}.to({dtype}).")
    if samples.condition is not None and len(samples.condition) != len(x):
        raise ValueError(f"`{name}` has {len(x)} samples and {len(samples.condition)} conditions. Give one for each.")


def _masked(name: str, samples: Samples) -> Samples:
    known = ~samples.x.isnan()
    empty = (~known.flatten(1).any(1)).nonzero()
    if len(empty):
        raise ValueError(f"`{name}` is NaN everywhere in sample {int(empty[0])}. Remove such samples.")
    return replace(samples, x=samples.x.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf), known=known)


def _check_finite(name: str, x: Tensor) -> None:
    bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero()
    if len(bad):
        raise ValueError(
            f"`{name}` holds NaN or Inf, first in sample {int(bad[0])}. Remove such samples, or train with mask=True "
            "to leave NaN entries out of the loss."
        )
