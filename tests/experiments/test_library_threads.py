"""One thread for every numerical library, also for one that is at work already."""

import os
import subprocess
import sys

CODE = """
import numba, numpy as np
from scoreda.experiments.threads import one_thread

@numba.njit(parallel=True)
def doubled(x):
    for i in numba.prange(len(x)):
        x[i] *= 2

doubled(np.ones(8))
one_thread()
doubled(np.ones(8, np.float32))
print(numba.get_num_threads())
"""


def test_that_numba_still_compiles_once_it_has_been_put_on_one_thread():
    environment = os.environ | {"NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"
