"""One thread for every numerical library; this module loads none of them."""

import os
import sys

__all__ = ["THREADS", "one_thread"]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def one_thread() -> None:
    """Keep numerical libraries to one thread, for good: sums are then added up in the same order on every machine.

    A BLAS reads the environment once, so this has to come before NumPy is loaded, or the environment be set outside.
    Numba reads it whenever it compiles, and refuses another number than it has started.
    """
    os.environ |= {name: "1" for name in THREADS if name != "NUMBA_NUM_THREADS" or "numba" not in sys.modules}
    for library in ("torch", "numba"):
        if library in sys.modules:
            sys.modules[library].set_num_threads(1)
