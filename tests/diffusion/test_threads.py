"""Threads: what Numba does to those of torch is undone."""

import os
import subprocess
import sys

import pytest
import torch

from scoreda.diffusion.threads import kept_threads, one_thread


def test_that_one_thread_lasts_as_long_as_its_block():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_that_threads_come_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), kept_threads():
        torch.set_num_threads(before + 1)
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_that_a_parallel_simulation_leaves_torch_its_threads():
    code = (
        "import numpy as np, torch\n"
        "from scoreda.models import Lorenz96\n"
        "from scoreda.diffusion.threads import kept_threads\n"
        "with kept_threads(): Lorenz96().step(np.ones((30_000, 40)), 1)\n"
        "print(torch.get_num_threads())"
    )
    env = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert out.split() == ["1"]
