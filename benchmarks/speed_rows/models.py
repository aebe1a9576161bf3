"""Steps of Lorenz96: beside a C kernel, two threads, DAPPER, and the derivatives beside the step."""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numba
import numpy as np

from scoreda.models import Lorenz96, lorenz96_kernels
from scoreda.models.integrators import SCHEMES
from speed_rows.peers import Peers
from speed_rows.table import Row, cpu, in_turn, wall

SOURCE = Path(__file__).parents[1] / "lorenz96.c"
MODEL = Lorenz96()
AGAINST_DAPPER = {(40, 40): 20.0, (1000, 40): 25.0, (40, 40_000): 12.0}  # shape of the ensemble: least ratio


def ensemble(members: int, size: int) -> np.ndarray:
    return 8 + np.random.default_rng(0).normal(size=(members, size))


def step_against_c(peers: Peers) -> Iterator[Row]:
    E = ensemble(1024, 40)
    with tempfile.TemporaryDirectory() as folder:
        theirs = c_kernel(folder)
        for steps in (1, 10):
            ratios = ()
            if theirs is not None:
                np.testing.assert_allclose(MODEL.step(E, steps), theirs(E, steps), atol=1e-11)
                ours, c = cpu(lambda s=steps: MODEL.step(E, s)), cpu(lambda s=steps: theirs(E, s))
                ratios = in_turn(ours, c, 41)
            yield Row(f"step 1024 x 40, {steps} at once", "C", 1.3, False, ratios)


def c_kernel(folder: str) -> Callable[[np.ndarray, int], np.ndarray] | None:
    """Compile lorenz96.c; None without a compiler."""
    library, compiler = Path(folder) / "lorenz96.so", shutil.which("gcc")
    if compiler is None:
        return None
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library)], check=True)
    advance = ctypes.CDLL(str(library)).advance
    advance.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_long] * 3 + [ctypes.c_double] * 2

    def step(E: np.ndarray, steps: int) -> np.ndarray:
        out = np.empty_like(E)
        advance(E.ctypes.data, out.ctypes.data, *E.shape, steps, MODEL.dt, MODEL.forcing)
        return out

    return step


def step_on_two_threads(peers: Peers) -> Iterator[Row]:
    E, settings = ensemble(1024, 40), (200, MODEL.dt, MODEL.forcing, *SCHEMES["rk4"][:2])
    out, ratios = np.empty_like(E), ()
    if numba.config.NUMBA_NUM_THREADS > 1:
        numba.set_num_threads(2)
        one = wall(lambda: lorenz96_kernels.advance(E, out, *settings))
        two = wall(lambda: lorenz96_kernels.advance_parallel(E, out, *settings))
        ratios = in_turn(one, two, 101)
        numba.set_num_threads(1)
    yield Row("step 1024 x 40, 200 at once, two threads", "one thread", 1.8, True, ratios)


def steps_against_dapper(peers: Peers) -> Iterator[Row]:
    for (members, size), target in AGAINST_DAPPER.items():
        work, times, model = f"step {members} x {size}", max(1, 400_000 // (members * size)), Lorenz96(size)
        E, ratios = ensemble(members, size), ()
        if peers.dapper:
            ratios = in_turn(peers.dapper.timer(work, times), cpu(lambda m=model, E=E: m.step(E)))
        yield Row(work, "DAPPER", target, True, ratios)


def tangent_and_adjoint(peers: Peers) -> Iterator[Row]:
    for members, steps in ((1024, 1), (40, 10)):
        E = ensemble(members, 40)
        x = E[0]
        nonlinear = cpu(lambda E=E, s=steps: MODEL.step(E, s))
        for name, linear in (("tangent", MODEL.tangent), ("adjoint", MODEL.adjoint)):
            ours = cpu(lambda x=x, E=E, s=steps, f=linear: f(x, E, s))
            yield Row(f"{name} {members} x 40, {steps} steps", "step", 2.5, False, in_turn(ours, nonlinear, 41))


GROUPS = (step_against_c, step_on_two_threads, steps_against_dapper, tangent_and_adjoint)
