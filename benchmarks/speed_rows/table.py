"""What a row of the table is, and how its ratios are measured."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, process_time

import numba
import numpy as np
import torch
from result_tables import NOT_MEASURED

__all__ = ["Row", "Timer", "cpu", "in_turn", "one_thread", "wall"]

TURNS = 7

Timer = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        work: What is timed.
        against: Beside what.
        target: What the ratio should at least (`faster`) or at most be.
        faster: Whether the ratio is the other's time over ours, or ours over the other's.
        ratios: One per turn; none if it could not be measured.
    """

    work: str
    against: str
    target: float
    faster: bool
    ratios: tuple[float, ...] = ()

    def cells(self) -> dict[str, str]:
        """Return the row in words."""
        low, ratio, high = np.quantile(self.ratios, (0.25, 0.5, 0.75)) if self.ratios else (np.nan,) * 3
        met = ratio >= self.target if self.faster else ratio <= self.target
        return dict(
            work=self.work,
            against=self.against,
            ratio=f"{ratio:.3g}" if self.ratios else NOT_MEASURED,
            quartiles=f"{low:.3g}-{high:.3g}" if self.ratios else "",
            target=f"{'>=' if self.faster else '<='} {self.target:g}",
            met=("yes" if met else "no") if self.ratios else "",
        )


def one_thread() -> None:
    """Let Numba and torch work on one thread; the environment has told the others."""
    numba.set_num_threads(1)
    torch.set_num_threads(1)


def cpu(work: Callable[[], object]) -> Timer:
    """Return a timer of the processor seconds of `work`, repeated for 30 ms; it has run, and is compiled."""

    def seconds(times: int) -> float:
        start = process_time()
        for _ in range(times):
            work()
        return (process_time() - start) / times

    work()
    times = max(1, int(0.03 / seconds(3)))
    return lambda: seconds(times)


def wall(work: Callable[[], object]) -> Timer:
    """Return a timer of the seconds by the clock on the wall."""
    work()

    def seconds() -> float:
        start = perf_counter()
        work()
        return perf_counter() - start

    return seconds


def in_turn(above: Timer, below: Timer, turns: int = TURNS) -> tuple[float, ...]:
    """Return the ratios of two timers that run in turn."""
    return tuple(above() / below() for _ in range(turns))
