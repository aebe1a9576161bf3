"""Several processes that train together, each on its share of every batch.

Every process draws the same batch and takes its slice, so the loss curve is that of one process, within the rounding of
the reduction. `torchrun` starts them; on a CPU they talk through gloo, on GPUs through nccl.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scoreda.errors import ScoredaError

__all__ = ["Ranks", "process_group", "unsynchronised"]


@dataclass(frozen=True)
class Ranks:
    """Which of several processes runs here: number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "Ranks":
        """Return the ranks of the process group, or those of a process of its own."""
        joined = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if joined else cls()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def share(self, number: int) -> slice:
        """Return this process's part of `number` samples.

        Raises:
            ValueError: if they cannot be shared evenly, which the mean over processes needs.
        """
        if number % self.size:
            raise ValueError(
                f"`batch` = {number} cannot be shared by {self.size} processes. "
                f"Pass batch={number + self.size - number % self.size}."
            )
        part = number // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean of `x` over the processes."""
        if self.size == 1:
            return x
        total = x.clone()
        dist.all_reduce(total)
        return total / self.size

    def lead(self, work: Callable[[], None]) -> None:
        """Let the first process do `work` while the others wait; what it refuses, all of them refuse.

        Raises:
            ScoredaError: if the work of the first process fails.
        """
        if self.size == 1:
            return work()
        refusal: list[str | None] = [None]
        try:
            if self.first:
                work()
        except (ScoredaError, OSError) as error:
            refusal = [str(error)]
        dist.broadcast_object_list(refusal)
        if refusal[0] is not None:
            raise ScoredaError(refusal[0])

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    def shared(self, module: nn.Module) -> nn.Module:
        """Return `module` with gradients that are averaged over the processes."""
        return DistributedDataParallel(module) if self.size > 1 else module


def unsynchronised(module: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which gradients only accumulate, to be averaged later."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


@contextmanager
def process_group(device: torch.device | str = "cpu") -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, and yield this one's device; without them, `device`."""
    device = torch.device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()
