"""The baselines on two standard cases, beside published or measured reference values.

    python benchmarks/baselines.py            # a minute; writes results/baselines.csv and prints it
    python benchmarks/baselines.py --tune     # two hours; prints the tables behind the settings below

Every method sees the same truth and observations. Scores are time means of the RMSE of the analysis mean over 5000
cycles after 400, averaged over seeds 1 to 5, with the standard error over seeds. Tuning used none of these seeds. From
a cold start a run that finds the truth late spoils the mean; the median and the worst seed stand beside it.
"""

import argparse
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from result_tables import write_table

from scoreda.assimilation import (
    ETKF,
    LETKF,
    Climatological,
    Info,
    Method,
    OptimalInterpolation,
    State,
    StochasticEnKF,
    initial_ensemble,
)
from scoreda.datasets import climatology, observations, simulate
from scoreda.models import Lorenz96
from scoreda.observations import Elementwise, GaussianError, Identity, Network, Observation

MODEL = Lorenz96(size=40, forcing=8.0, dt=0.05)
CLIMATE = climatology(MODEL, np.random.default_rng(0))
SEEDS, CYCLES, BURN_IN = range(1, 6), 5000, 400
RESULTS = Path(__file__).parent / "results" / "baselines.csv"

DENSE = Network(Identity(40), GaussianError(1.0, 40), interval=0.05)
ARCTAN = Network(Elementwise(Identity(40), "arctan"), GaussianError(0.05**2, 40), interval=0.1)
# name: (what is observed, kind of start); "truth" is the truth plus unit noise
CASES = {
    "sakov2008": (DENSE, "truth"),
    "bao2024": (ARCTAN, "climatology"),
    "bao2024_warm": (ARCTAN, "truth"),
}

# Tuned settings: the lowest mean RMSE over other seeds, in runs as long as those of the table. A setting that loses the
# truth once in sixty runs is not seen in short trials, and may cost one of the five seeds below.
#
# sakov2008, N = 7, seeds 101 to 110, rotated (not rotated); * one or two runs lost the truth:
#     radius       5             6             7             8
#     1.03         .229 (.227)   .220 (.221)   .216 (.233*)  .334* (.340*)
#     1.04         .228 (.229)   .221 (.222)  [.216](.218)   .217 (.216)
#     1.05         .233 (.235)   .225 (.227)   .220 (.222)   .216 (.219)
#     1.06         .240 (.241)   .231 (.234)   .226 (.227)   .222 (.224)
LETKF_SAKOV_7 = dict(radius=7.0, inflation=1.04, rotate=True)
# sakov2008, N = 20, rotated (not rotated), seeds 101 to 110, and in the last column 101 to 160:
#     radius       10            15            18            18, sixty seeds
#     1.015        .187          .180          .179          .184, one lost
#     1.020        .188 (.191)   .181 (.185)   .180 (.184)  [.180], none lost
#     1.025        .191 (.195)   .184 (.188)   .183 (.187)
#     1.030        .195 (.199)   .188 (.193)   .186 (.191)
LETKF_SAKOV_20 = dict(radius=18.0, inflation=1.02, rotate=True)
# bao2024, N = 20, inflation 1.1, seeds 101 to 160: runs that stayed on the truth (of 60), and their mean.
#     radius       4             4.5           5             5.5           6             6.5
#                 [60 .0523]     57 .0504      53 .0491      57 .0479      58 .0470      53 .0462
#   Over 20 seeds, inflation 1.05 loses 3 to 20 of them, 1.15 and 1.2 up to 3; radius 3 with 1.1 loses none, at .0579.
#   In shorter runs, rotated or with relaxation to the prior spread instead, fewer found the truth.
LETKF_BAO = dict(radius=4.0, inflation=1.1)
# Finding the truth from the climatology needs a small radius and a large inflation, tracking it the opposite. With the
# settings of bao2024_warm after 200 cycles (time 20), N = 20, 200 cycles after 300, seeds 101-132; radius and inflation
# before: 4, 1.1: [32 of 32 .0332]; 4, 1.2: 27; 4.5, 1.1: 29; 5, 1.1: 28; 5, 1.15: 30; 6, 1.12: 30; 3, 1.2: 29.
LETKF_BAO_FIRST = dict(radius=4.0, inflation=1.1)
# bao2024_warm, N = 20, 500 cycles after 100, seeds 101-102:
#     radius       15            18            22
#     1.01         .0336         .0330         .0329
#     1.02         .0334        [.0330]        .0327
#     1.03                       .0339         .0333
LETKF_BAO_WARM = dict(radius=18.0, inflation=1.02)


class Handover:
    """One method up to a time, another after it; the states of ensemble filters are the same."""

    name = "letkf x 2"

    def __init__(self, model: Lorenz96, first: dict[str, Any], then: dict[str, Any], time: float) -> None:
        self.first, self.then, self.time = LETKF(model, **first), LETKF(model, **then), time

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the state of the first method."""
        return self.first.init(ensemble, time)

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Step with the method whose time it is."""
        return (self.first if obs.time <= self.time else self.then).step(state, obs, rng)


@dataclass(frozen=True)
class Entry:
    """One row of the table."""

    case: str
    method: Callable[..., Method]
    members: int
    settings: dict[str, Any] = field(default_factory=dict)
    reference: float | None = None
    source: str = ""


NOTE = "measured with DAPPER 1.7.1"
ENTRIES = [
    Entry("sakov2008", Climatological, 20, dict(climatology=CLIMATE), 3.6, "DAPPER, sakov2008"),
    Entry("sakov2008", OptimalInterpolation, 20, dict(climatology=CLIMATE), 0.95, "DAPPER, sakov2008"),
    Entry("sakov2008", StochasticEnKF, 40, dict(inflation=1.06), 0.220, NOTE + ", two seeds, 10000 cycles"),
    Entry("sakov2008", ETKF, 28, dict(inflation=1.02), 0.180, NOTE + ", two seeds, 10000 cycles"),
    Entry("sakov2008", LETKF, 7, LETKF_SAKOV_7, 0.226, NOTE + ", one seed, 2000 cycles"),
    Entry("sakov2008", LETKF, 20, LETKF_SAKOV_20, 0.177, "preliminary experiment, tuned"),
    Entry("bao2024", StochasticEnKF, 40, dict(inflation=1.06)),
    Entry("bao2024", ETKF, 28, dict(inflation=1.02)),
    Entry("bao2024", LETKF, 20, LETKF_BAO, 0.045, "preliminary experiment, tuned"),
    Entry("bao2024", Handover, 20, dict(first=LETKF_BAO_FIRST, then=LETKF_BAO_WARM, time=20.0)),
    Entry("bao2024_warm", LETKF, 20, LETKF_BAO_WARM),
]
# case, members, seeds, cycles, burn-in, grid of LETKF settings
TUNING: list[tuple[str, int, range, int, int, dict[str, Any]]] = [
    ("sakov2008", 7, range(101, 111), CYCLES, BURN_IN,
     dict(radius=(5, 6, 7, 8), inflation=(1.03, 1.04, 1.05, 1.06), rotate=(True, False))),
    ("sakov2008", 20, range(101, 111), CYCLES, BURN_IN,
     dict(radius=(10, 15, 18), inflation=(1.015, 1.02, 1.025, 1.03), rotate=(True, False))),
    ("sakov2008", 20, range(101, 161), CYCLES, BURN_IN, dict(radius=(15, 18), inflation=(1.015, 1.02), rotate=(True,))),
    ("bao2024", 20, range(101, 121), CYCLES, BURN_IN, dict(radius=(3, 4, 5, 6, 6.5), inflation=(1.05, 1.1, 1.15, 1.2))),
    ("bao2024", 20, range(101, 161), CYCLES, BURN_IN, dict(radius=(4, 4.5, 5, 5.5, 6, 6.5), inflation=(1.1,))),
    ("bao2024_warm", 20, range(101, 103), 500, 100, dict(radius=(10, 15, 18, 22), inflation=(1.01, 1.02, 1.03))),
]  # fmt: skip


def time_mean_rmse(case: str, method: Method, members: int, seed: int, cycles: int, burn_in: int) -> float:
    """Run one method over the twin of one seed; NaN if it diverged."""
    network, kind = CASES[case]
    twin, rng = simulate(MODEL, network, burn_in + cycles, seed), np.random.default_rng([seed, 1])
    state = method.init(initial_ensemble(twin, members, kind, rng=rng))
    errors = []
    with np.errstate(all="ignore"):
        for obs, truth in zip(observations(twin), twin["truth"].values, strict=True):
            state, _ = method.step(state, obs, rng)
            errors.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
    return float(np.mean(errors[burn_in:]))


def score(entry: Entry) -> dict[str, Any]:
    """Return a row of the table."""
    method = entry.method(MODEL, **entry.settings)
    scores = [time_mean_rmse(entry.case, method, entry.members, seed, CYCLES, BURN_IN) for seed in SEEDS]
    statistics = dict(
        rmse=np.mean(scores),
        standard_error=np.std(scores, ddof=1) / np.sqrt(len(scores)),
        median_seed=np.median(scores),
        worst_seed=np.max(scores),
    )
    row = dict(case=entry.case, method=method.name, members=entry.members, settings=words(entry.settings))
    row |= {name: f"{value:.4f}" for name, value in statistics.items()}
    return row | dict(reference=entry.reference or "", source=entry.source)


def words(settings: dict[str, Any]) -> str:
    """Return settings on one line, without the climatology."""
    given = {key: value for key, value in settings.items() if value is not CLIMATE}
    return " ".join(f"{key}=({words(v)})" if isinstance(v, dict) else f"{key}={v}" for key, v in given.items())


def report() -> None:
    """Print every row when it is there, then write them all."""
    rows = []
    for row in map(score, ENTRIES):
        rows.append(row)
        print("{case:13} {method:12} {members:3} {rmse} +- {standard_error}  {reference:5}  {settings}".format(**row))
    write_table(RESULTS, rows)


def tune(case: str, members: int, seeds: Iterable[int], cycles: int, burn_in: int, grid: dict[str, Any]) -> None:
    """Print the scores of every LETKF on a grid of settings."""
    print(f"{case}, {members} members: settings, runs below 1, their mean")
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        method = LETKF(MODEL, **settings)
        scores = np.array([time_mean_rmse(case, method, members, seed, cycles, burn_in) for seed in seeds])
        locked = scores[scores < 1]
        print(settings, f"{len(locked)} of {len(scores)}", f"{np.mean(locked):.4f}" if len(locked) else "-")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", action="store_true", help="print the tuning tables instead")
    if parser.parse_args().tune:
        for experiment in TUNING:
            tune(*experiment)
    else:
        report()
