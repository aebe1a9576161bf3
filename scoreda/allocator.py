"""What becomes of the memory of freed arrays.

glibc returns large blocks to the system when they are freed, and the next array has the system fault in and zero every
page again: half the time of a forward pass of a small network, whose activations take 0.7 MB each. What counts as large
grows with what a process has freed before, so that the same work takes less time late in a long process than early.
"""

import ctypes
import os
import sys

__all__ = ["keep_freed_memory", "leave_freed_memory"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as in malloc.h
LARGEST = 32 * 2**20  # where glibc's own thresholds stop growing: twice this is kept at most
LEFT = "SCOREDA_LEAVE_FREED_MEMORY"
CHOSEN_OUTSIDE = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", LEFT)


def keep_freed_memory() -> None:
    """Let this process keep up to 64 MB that it has freed, as glibc does by itself once a block of 32 MB was.

    Thresholds that the environment sets are left alone, and so is any other C library.
    """
    if sys.platform != "linux" or any(name in os.environ for name in CHOSEN_OUTSIDE):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, LARGEST)
        set_option(M_TRIM_THRESHOLD, 2 * LARGEST)


def leave_freed_memory() -> None:
    """Let this process, and those that it starts, do with freed memory as the C library does by itself.

    For what is to stay within a budget: what is kept has holes, which made the peak of a training 15 % higher. It has
    to come before `assimilation` or `diffusion` is imported.
    """
    os.environ[LEFT] = "1"
