"""How long works take, what they compute and move, in which precision, and what becomes of those that fail."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

COPY = "ceiling, copy"
PATIENCE = 5.0  # seconds after which a work is not repeated again: the whole table is one call


class Sizes(NamedTuple):
    """How large the works are."""

    matrix: int
    numbers: int
    members: tuple[int, ...]
    turns: int
    window: int = 60
    compiled: tuple[int, ...] = ()  # those of the members for which 20 s of compiling are worth it


class Figure(NamedTuple):
    """One figure of one device: a number, or why there is none; the same unit of `ceiling` is the most there can be."""

    work: str
    unit: str
    value: float | str
    ceiling: str = ""


class Task(NamedTuple):
    """What gives figures, and the row that says so if it fails."""

    work: str
    unit: str
    measure: Callable[[], Iterator[Figure]]


def attempted(task: Task) -> Iterator[Figure]:
    """Yield the figures of a task, and why it failed if it did: no failure is worth the other rows."""
    failure = ""
    try:
        yield from task.measure()
    except Exception as error:
        failure = f"failed: {reason(error)}"
    # Behind the handler, whose error would keep every tensor of the work alive.
    gc.collect()
    with suppress(RuntimeError):
        torch.cuda.empty_cache()
    if failure:
        yield Figure(task.work, task.unit, failure)


def reason(error: BaseException | None) -> str:
    """Return the first line of an error and of those behind it: the end of a capture hides what went wrong in it."""
    lines = []
    while error is not None:
        lines.append((str(error) or type(error).__name__).splitlines()[0])
        error = error.__cause__ or error.__context__
    return " <- ".join(lines)


def seconds(work: Callable[[], object], device: torch.device, turns: int) -> float:
    """Return the median time of a work by the clock on the wall, from an idle device to an idle device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def once() -> float:
        wait()
        start = perf_counter()
        work()
        wait()
        return perf_counter() - start

    once()
    times: list[float] = []
    while len(times) < turns and sum(times) < PATIENCE:
        times.append(once())
    return median(times)


class Counted(TorchDispatchMode):
    """Counts operations on numbers, and the bytes that operations read and write, each by itself; views move none.

    Torch's own counter also asks which module an operation belongs to, and fails on derivatives by `torch.func`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and go on."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
        if not func.is_view:
            tensors = [v for v in tree_leaves((args, kwargs, out)) if isinstance(v, Tensor)]
            self.bytes += sum(v.numel() * v.element_size() for v in tensors)
        return out

    def rates(self, work: str, time: float, kind: str, moved: bool = True) -> Iterator[Figure]:
        """Yield what was computed, and moved unless operations are fused, in that time beside what is possible."""
        yield Figure(work, "TFLOP/s", self.flops / time / 1e12, product(kind))
        if moved:
            yield Figure(work, "GB/s", self.bytes / time / 1e9, COPY)


def product(kind: str) -> str:
    """Return the name of the ceiling of computing."""
    return f"ceiling, matrices, {kind}"


def kinds(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that a device computes in."""
    return ("float32", "tf32", "bfloat16") if device.type == "cuda" else ("float32", "bfloat16")


@contextmanager
def precision(kind: str) -> Iterator[None]:
    """Compute what is float32 as such, or in "tf32", which CUDA takes for convolutions unless told not to."""
    of_products, of_convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = kind == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(of_products)
        torch.backends.cudnn.allow_tf32 = of_convolutions
