"""What an update of the weights holds in memory, counted without computing it."""

import copy
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scoreda.diffusion.training.objective import Objective
from scoreda.diffusion.training.samples import Batch

__all__ = ["footprint"]


class _Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, for as long as something holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:  # a view, or a result written in place
            return
        self._known.add(key)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.bytes -= size


def footprint(denoiser: nn.Module, shape: tuple[int, ...], number: int, norm: str = "l2", train: bool = True) -> int:
    """Return the most bytes that the loss of some samples holds at a time, beside the samples and the weights.

    The loss is evaluated on tensors without values, so this takes no memory and a fraction of a second.

    Args:
        denoiser: Offers `loss`; stays as it is.
        shape: Of a sample, `(C, *space)`.
        number: Samples that go through the network together.
        norm: Of the loss.
        train: Whether the gradient is taken, which keeps all activations and leaves a gradient for every weight.
    """
    objective = Objective(copy.deepcopy(denoiser).to("meta"), norm)
    x = torch.empty(number, *shape, device="meta")
    batch = Batch(x, torch.empty(number, device="meta"), torch.empty_like(x))
    with _Alive() as alive, torch.set_grad_enabled(train):
        loss = objective(batch)
        if train:
            loss.backward()
    return alive.peak
