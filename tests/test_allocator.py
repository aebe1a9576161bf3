"""Whether arrays that come after freed ones have to be faulted in again."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from scoreda import allocator
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


def test_that_a_budget_of_memory_leaves_freed_memory_to_the_c_library(monkeypatch):
    asked = []
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.os, "environ", {})
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *one: asked.append(one)))
    allocator.keep_freed_memory()
    assert asked == [(-3, 2**25), (-1, 2**26)]
    allocator.leave_freed_memory()
    allocator.keep_freed_memory()
    assert len(asked) == 2


def test_that_the_option_for_a_budget_does_so_before_anything_is_imported():
    code = "from scoreda.cli import main; import os; main(['train', 'none.yaml', '--out', 'x', '--memory', '2GB'])"
    told = "import sys; print('SCOREDA_LEAVE_FREED_MEMORY' in os.environ)"
    done = subprocess.run([sys.executable, "-c", f"{code}; {told}"], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
