"""DAPPER's share of benchmarks/speed.py, run by an interpreter that has DAPPER: names of works in, seconds out.

Reads one line `work times` after another and answers with the processor seconds of one, averaged over `times`.
"""

import contextlib
import io
import sys
from time import process_time

import dapper
import dapper.da_methods as da
import numpy as np
from dapper.mods.Lorenz96 import step
from dapper.mods.Lorenz96.sakov2008 import HMM

METHODS = {  # with the number of cycles
    "etkf 28": (da.EnKF("Sqrt", N=28, infl=1.02, rot=True), 1000),
    "enkf 40": (da.EnKF("PertObs", N=40, infl=1.06), 1000),
    "letkf 7": (da.LETKF(N=7, rot=True, infl=1.04, loc_rad=4), 1000),
    "letkf 20": (da.LETKF(N=20, rot=True, infl=1.02, loc_rad=10), 1000),
    "ienks 20, lag 8, 10 iterations": (da.iEnKS("Sqrt", N=20, Lag=8, nIter=10, infl=1.02, rot=True), 1000),
    "ienks 20, lag 8, to one tolerance": (
        da.iEnKS("Sqrt", N=20, Lag=8, nIter=10, wtol=1e-4, infl=1.02, rot=True),
        1000,
    ),
}


def cycle(method, xx, yy, number):
    """Run the first `number` cycles of a twin; `Ko` is the index of the last."""
    HMM.tseq.Ko = number - 1
    method.assimilate(HMM, xx, yy, liveplots=False)


def works():
    """Return name: (function, how many of what is timed it does)."""
    dapper.rc.comps["error_only"] = True
    dapper.set_seed(3000)
    HMM.tseq.Ko = max(cycles for _, cycles in METHODS.values()) - 1
    xx, yy = HMM.simulate()
    runs = {name: (lambda m=m, n=n: cycle(m, xx, yy, n), n) for name, (m, n) in METHODS.items()}
    shapes = ((40, 40), (1000, 40), (40, 40_000))
    ensembles = {f"step {N} x {n}": 8 + np.random.default_rng(0).normal(size=(N, n)) for N, n in shapes}
    return runs | {name: (lambda E=E: step(E, 0.0, 0.05), 1) for name, E in ensembles.items()}


def main():
    """Answer requests until the input ends."""
    with contextlib.redirect_stdout(io.StringIO()):
        known = works()
    print("ready", flush=True)
    for line in sys.stdin:
        name, times = line.rsplit(maxsplit=1)
        function, number = known[name]
        with contextlib.redirect_stdout(io.StringIO()):
            start = process_time()
            for _ in range(int(times)):
                function()
            seconds = process_time() - start
        print(seconds / int(times) / number, flush=True)


if __name__ == "__main__":
    main()
