"""DAPPER's share of benchmarks/vs_dapper.py, run by an interpreter that has DAPPER.

    python dapper_twin.py FILE SYSTEM SEED CYCLES

Simulates a twin, runs DAPPER's methods on it, and writes FILE (npz): `states` of the truth at every model step from the
initial state on, `observed` which of them belong to the observations `obs`, and under the name of each method the RMSE
of its analysis at every observation time. Methods named `..._alike` are those that DAPPER defines otherwise than we do,
run with its definition changed to ours:

* the perturbations of observations, once their mean is taken away, are not scaled up by N / (N - 1) in variance;
* the LETKF analyses every variable with the observations near it, not pairs of variables;
* the finite-size filter counts the direction in which the members have no anomaly (g = 1).
"""

import contextlib
import io
import sys
from functools import partial
from importlib import import_module

import dapper
import dapper.da_methods as da
import numpy as np
from dapper.tools.localization import nd_Id_localization

BANDWIDTH = 0.1
PARTICLES, VARIABLES = 4000, 3
SYSTEMS = {
    "sakov2008": ("dapper.mods.Lorenz96.sakov2008", "HMM"),
    "lorenz63_sakov2012": ("dapper.mods.Lorenz63.sakov2012", "HMM"),
    "spantini2019": ("dapper.mods.Lorenz96.spantini2019", "HMM"),
    "wilks2005_full": ("dapper.mods.LorenzUV.wilks05", "HMM_full"),
}
METHODS = {
    "sakov2008": {
        "oi": da.OptInterp(),
        "3dvar": da.Var3D(xB=0.02),
        "enkf": da.EnKF("PertObs", N=40, infl=1.06),
        "denkf": da.EnKF("DEnKF", N=40, infl=1.01),
        "etkf": da.EnKF("Sqrt", N=28, infl=1.02, rot=True),
        "serial_ensrf": da.EnKF("Serial", N=28, infl=1.02, rot=True),
        "letkf": da.LETKF(N=7, infl=1.04, rot=True, loc_rad=4),
        "enkf_n": da.EnKF_N(N=24, rot=True),
        "ienks": da.iEnKS("Sqrt", N=20, Lag=4, nIter=10, wtol=1e-4, infl=1.02, rot=True),
    },
    "lorenz63_sakov2012": {
        # Resampled at every time, all particles regularised, bandwidth in units of the spread.
        "bootstrap_pf": da.PartFilt(N=PARTICLES, NER=1, nuj=False, reg=BANDWIDTH * PARTICLES ** (1 / (VARIABLES + 4))),
    },
    "spantini2019": {
        "ienks": da.iEnKS("Sqrt", N=100, Lag=1, nIter=10, wtol=1e-4, infl=1.1, rot=True),
        "ienks_n": da.iEnKS("Sqrt", N=100, Lag=2, nIter=10, wtol=1e-4, xN=1, rot=True),
    },
    "wilks2005_full": {"enkf_n": da.EnKF_N(N=20)},
}


ALIKE = {
    "sakov2008": {
        "enkf_alike": da.EnKF("PertObs", N=40, infl=1.06),
        "letkf_alike": da.LETKF(N=7, infl=1.04, rot=True, loc_rad=4),
        "enkf_n_alike": da.EnKF_N(N=24, rot=True, g=1),
    },
    "lorenz63_sakov2012": {},
    "spantini2019": {},
    "wilks2005_full": {"enkf_n_alike": da.EnKF_N(N=20, g=1)},
}


def run(system, seed, cycles):
    """Return what is written."""
    module, name = SYSTEMS[system]
    HMM = getattr(import_module(module), name)
    dapper.rc.comps["error_only"] = True
    dapper.set_seed(seed)
    HMM.tseq.Ko = cycles - 1
    states, obs = HMM.simulate()
    found = dict(states=states, observed=HMM.tseq.kko, obs=np.stack(obs))
    found |= scores(METHODS[system], HMM, states, obs)
    da.ensemble.mean0 = partial(da.ensemble.mean0, rescale=False)
    HMM.Obs(0).localizer = nd_Id_localization((HMM.Nx,))
    return found | scores(ALIKE[system], HMM, states, obs)


def scores(methods, HMM, states, obs):
    """Return the RMSE at every observation time under the name of each method."""
    for method in methods.values():
        method.assimilate(HMM, states, obs, liveplots=False)
    return {name: np.asarray(method.stats.err.rms.a) for name, method in methods.items()}


if __name__ == "__main__":
    path, system, seed, cycles = sys.argv[1:]
    with contextlib.redirect_stdout(io.StringIO()):
        found = run(system, int(seed), int(cycles))
    np.savez(path, **found)
