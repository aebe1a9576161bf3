"""Threads of torch beside those of Numba.

Both run on the same OpenMP, and the first parallel kernel of Numba sets the number of threads of torch too. On a busy
machine small batches shared between threads that wait for each other cost a factor of thirty.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["kept_threads", "one_thread"]


@contextmanager
def kept_threads() -> Iterator[None]:
    """Give torch back its number of threads at the end, whatever ran in between."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread for a while: the batches of a filter are too small to share."""
    with kept_threads():
        torch.set_num_threads(1)
        yield
