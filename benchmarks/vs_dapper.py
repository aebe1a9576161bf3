"""The classical methods beside DAPPER's on the same truths, the same observations and the same settings.

    python -m venv dapper && dapper/bin/pip install dapper==1.7.1      # in a place of its own: it pins old packages
    python benchmarks/vs_dapper.py --dapper-python dapper/bin/python   # ten minutes; writes results/vs_dapper.csv

DAPPER simulates (benchmarks/workers/dapper_twin.py); its truth and observations become a twin of ours, and what methods
draw is their own business. Scores are time means of the RMSE of the analysis mean, averaged over seeds 1 to 5; the
difference is paired by seed, and `errors` is how many of its standard errors it amounts to. Without random numbers (oi,
3dvar) there is no such error, and the difference itself is the result. What is called the same is defined the same:

* inflation multiplies the anomalies, here before the analysis and there after it, which is one cycle's difference;
* the radius of 4 of DAPPER's LETKF names a Gaussian, and is a half-width of 4 sqrt(10 / 3) = 7.3 of that taper here;
* the particle filters resample every time and regularise all particles with the same bandwidth.

What is not defined the same has a second row, `..._alike`: DAPPER with that one definition changed to ours, which
benchmarks/workers/dapper_twin.py names.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from result_tables import update_table

from scoreda.assimilation import (
    ETKF,
    LETKF,
    BootstrapPF,
    DEnKF,
    EnKFN,
    IEnKS,
    Method,
    OptimalInterpolation,
    SerialEnSRF,
    StochasticEnKF,
    ThreeDVar,
    initial_ensemble,
)
from scoreda.datasets import Climatology, observations, twin_dataset
from scoreda.models import Lorenz63, Lorenz96, Model, TwoScaleLorenz96
from scoreda.observations import EveryNth, GaussianError, Identity, Network, Operator, Sites

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results" / "vs_dapper.csv"
SEEDS = (1, 2, 3, 4, 5)
SHOWN = "{method:13} {members:5} {settings:34} {ours} {dapper}  {difference:>8} +- {standard_error}  {errors}"


@dataclass(frozen=True)
class System:
    """What is simulated, how its ensembles start, and how long it is scored."""

    model: Model
    variance: float
    interval: float
    std: float
    burn_in: int
    cycles: int
    operator: Operator

    @property
    def network(self) -> Network:
        """The same observations at fixed intervals."""
        return Network(self.operator, GaussianError(self.variance, self.operator.size), self.interval)


@dataclass(frozen=True)
class Entry:
    """One row of the table: a method of ours; those in need of a climatology take the truth's own, as DAPPER does."""

    system: str
    method: Callable[..., Method]
    members: int
    settings: dict[str, Any]
    climate: bool = False
    against: str = ""  # the name of DAPPER's run, if not that of the method


SYSTEMS = {
    "sakov2008": System(Lorenz96(size=40), 1.0, 0.05, np.sqrt(0.001), 400, 2000, Identity(40)),
    "lorenz63_sakov2012": System(Lorenz63(dt=0.01), 2.0, 0.25, np.sqrt(2.0), 100, 1100, Identity(3)),
    "spantini2019": System(Lorenz96(size=40, dt=0.02), 0.5, 0.4, np.sqrt(0.1), 100, 1100, EveryNth(40, 2)),
    "wilks2005_full": System(TwoScaleLorenz96(), 0.1, 0.05, 0.1, 120, 1280, Sites(264, range(8))),
}
LETKF_SETTINGS = dict(radius=round(4 * np.sqrt(10 / 3), 2), inflation=1.04, rotate=True)
ENTRIES = [
    Entry("sakov2008", OptimalInterpolation, 40, {}, climate=True),
    Entry("sakov2008", ThreeDVar, 40, dict(scale=0.02), climate=True),
    Entry("sakov2008", StochasticEnKF, 40, dict(inflation=1.06)),
    Entry("sakov2008", StochasticEnKF, 40, dict(inflation=1.06), against="enkf_alike"),
    Entry("sakov2008", DEnKF, 40, dict(inflation=1.01)),
    Entry("sakov2008", ETKF, 28, dict(inflation=1.02, rotate=True)),
    Entry("sakov2008", SerialEnSRF, 28, dict(inflation=1.02, rotate=True)),
    Entry("sakov2008", LETKF, 7, LETKF_SETTINGS),
    Entry("sakov2008", LETKF, 7, LETKF_SETTINGS, against="letkf_alike"),
    Entry("sakov2008", EnKFN, 24, dict(certainty=1.0, rotate=True)),
    Entry("sakov2008", EnKFN, 24, dict(certainty=1.0, rotate=True), against="enkf_n_alike"),
    Entry("sakov2008", IEnKS, 20, dict(lag=4, inflation=1.02, rotate=True)),
    Entry("lorenz63_sakov2012", BootstrapPF, 4000, dict(bandwidth=0.1)),
    Entry("spantini2019", IEnKS, 100, dict(lag=1, inflation=1.1, rotate=True)),
    Entry("spantini2019", IEnKS, 100, dict(lag=2, certainty=1.0, rotate=True), against="ienks_n"),
    Entry("wilks2005_full", EnKFN, 20, dict(certainty=1.0, rotate=False)),
    Entry("wilks2005_full", EnKFN, 20, dict(certainty=1.0, rotate=False), against="enkf_n_alike"),
]

Known = dict[str, np.ndarray]


def from_dapper(python: str, system: str, seed: int) -> Known:
    """Return what DAPPER simulated and scored."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twin.npz"
        worker = [python, str(FOLDER / "workers" / "dapper_twin.py"), str(path), system]
        done = subprocess.run([*worker, str(seed), str(SYSTEMS[system].cycles)], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{python} could not run DAPPER: {done.stderr[-500:]}")
        with np.load(path) as found:
            return dict(found)


def twin_of(system: System, known: Known) -> xr.Dataset:
    """Return DAPPER's truth and observations as a twin of ours."""
    states, obs = known["states"], known["obs"]
    times = system.interval * np.arange(1, len(obs) + 1)
    return twin_dataset(system.model, system.network, times, obs, states[known["observed"]], states[0])


def ours(entry: Entry, known: Known, seed: int) -> float:
    """Return the score of our method on that twin."""
    system = SYSTEMS[entry.system]
    climate = dict(climatology=Climatology.of(known["states"])) if entry.climate else {}
    method, twin = entry.method(system.model, **entry.settings, **climate), twin_of(system, known)
    rng = np.random.default_rng([seed, 1])
    state, errors = method.init(initial_ensemble(twin, entry.members, std=system.std, rng=rng)), []
    for obs, truth in zip(observations(twin), twin["truth"].values, strict=True):
        state, _ = method.step(state, obs, rng)
        errors.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
    return float(np.mean(errors[system.burn_in :]))


def row(entry: Entry, twins: list[Known]) -> dict[str, Any]:
    """Return one row of the table."""
    name = entry.against or entry.method.name  # type: ignore[attr-defined]
    burn_in = SYSTEMS[entry.system].burn_in
    here = np.array([ours(entry, known, seed) for seed, known in zip(SEEDS, twins, strict=True)])
    there = np.array([known[name][burn_in:].mean() for known in twins])
    difference = here - there
    error = np.std(difference, ddof=1) / np.sqrt(len(difference))
    settings = " ".join(f"{key}={value}" for key, value in entry.settings.items())
    known = dict(system=entry.system, method=name, members=entry.members, settings=settings, seeds=len(SEEDS))
    known |= dict(
        cycles=SYSTEMS[entry.system].cycles - burn_in, ours=f"{here.mean():.4f}", dapper=f"{there.mean():.4f}"
    )
    known |= dict(difference=f"{difference.mean():.4f}", standard_error=f"{error:.4f}")
    return known | dict(errors=f"{difference.mean() / error:.1f}" if not entry.climate else "")


def report(python: str, only: str) -> None:
    """Print the rows of the systems whose name contains a word, then write them; the others stay."""
    rows = []
    for system in (name for name in SYSTEMS if only in name):
        twins = [from_dapper(python, system, seed) for seed in SEEDS]
        for entry in (entry for entry in ENTRIES if entry.system == system):
            rows.append(row(entry, twins))
            print(SHOWN.format(**rows[-1]), flush=True)
    update_table(RESULTS, rows, lambda row: (row["system"], row["method"], row["settings"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dapper-python", required=True, help="interpreter of an environment with DAPPER")
    parser.add_argument("--only", default="", help="systems whose name contains this")
    arguments = parser.parse_args()
    report(arguments.dapper_python, arguments.only)
