"""Whether arrays that come after freed ones have to be faulted in again."""

import os
import platform
import subprocess
import sys

import pytest

from scoreda.allocator import CHOSEN_OUTSIDE

PAGES, ARRAYS = 200, 50
FAULTS = f"""
import resource, {{}}
import numpy as np
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work = lambda: np.ones({PAGES} * 4096, dtype=np.uint8).sum() + np.ones({PAGES} * 8192, dtype=np.uint8).sum()
work()
before = faults()
for _ in range({ARRAYS}):
    work()
print(faults() - before)
"""


def faults(package, **chosen):
    """Return how many pages a fresh process with a package loaded faults in for arrays that follow each other."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOSEN_OUTSIDE}
    command = [sys.executable, "-c", FAULTS.format(package)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=kept | chosen).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an allocator of another C library is left alone")
@pytest.mark.parametrize("package", ["scoreda.assimilation", "scoreda.diffusion"])
def test_that_freed_memory_is_used_again_unless_the_environment_decides(package):
    assert faults(package) < PAGES
    assert faults(package, MALLOC_TRIM_THRESHOLD_="131072") >= PAGES * ARRAYS
