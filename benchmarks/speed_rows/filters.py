"""Whole cycles beside DAPPER's, and the local filter on grids of any size."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from scoreda.assimilation import ETKF, LETKF, IEnKS, Method, StochasticEnKF, assimilate, initial_ensemble
from scoreda.datasets import simulate
from scoreda.models import Lorenz96
from scoreda.observations import GaussianError, Identity, Network, Observation
from scoreda.verification import summary
from speed_rows.models import MODEL, ensemble
from speed_rows.peers import Peers
from speed_rows.table import Row, cpu, in_turn


class Cycles(NamedTuple):
    """Cycles of a filter: on how many members, how many, and how many times as fast as DAPPER they should be."""

    method: Method
    members: int
    number: int
    target: float


# Tuned on sakov2008 in baselines.py. DAPPER's iEnKS takes 10 iterations unless it is given a tolerance, we as many as
# ours wants. Steps of |w|^2 < 1e-4 N, where it stops in the row of one tolerance, are 0.2 in our units.
FILTERS = {
    "etkf 28": Cycles(ETKF(MODEL, inflation=1.02), 28, 1000, 5.0),
    "enkf 40": Cycles(StochasticEnKF(MODEL, inflation=1.06), 40, 1000, 5.0),
    "letkf 7": Cycles(LETKF(MODEL, radius=7.0, inflation=1.04, rotate=True), 7, 1000, 15.0),
    "letkf 20": Cycles(LETKF(MODEL, radius=18.0, inflation=1.02, rotate=True), 20, 1000, 6.0),
    "ienks 20, lag 8, 10 iterations": Cycles(IEnKS(MODEL, lag=8, inflation=1.02), 20, 1000, 30.0),
    "ienks 20, lag 8, to one tolerance": Cycles(IEnKS(MODEL, lag=8, inflation=1.02, tolerance=0.2), 20, 1000, 30.0),
}


def cycles_against_dapper(peers: Peers) -> Iterator[Row]:
    twin = simulate(MODEL, Network(Identity(40), GaussianError(1.0, 40), interval=0.05), 1000, seed=1)
    for work, cycles in FILTERS.items():
        ratios: tuple[float, ...] = ()
        if peers.dapper:
            run = cpu(lambda c=cycles: full_run(twin, c))
            ratios = in_turn(peers.dapper.timer(work), lambda run=run, c=cycles: run() / c.number, 5)
        yield Row(f"{work}, sakov2008 cycle with all scores", "DAPPER, errors only", cycles.target, True, ratios)


def full_run(twin: xr.Dataset, cycles: Cycles) -> dict[str, float]:
    rng = np.random.default_rng(1)
    E = initial_ensemble(twin, cycles.members, rng=rng)
    return summary(assimilate(twin, cycles.method, E, rng, cycles.number), burn_in=cycles.number // 2)


def letkf_at_scale(peers: Peers) -> Iterator[Row]:
    small = cpu(letkf_analysis(40))
    for size, turns in ((1000, 9), (100_000, 5), (1_000_000, 3)):
        large = cpu(letkf_analysis(size))
        ratios = tuple(r * 40 / size for r in in_turn(large, small, turns))
        yield Row(f"letkf 20 analysis of {size:,} variables, each", "of 40", 1.2, False, ratios)
    yield Row("letkf 20 analysis, peak memory", "an ensemble of 1,000,000", 4.0, False, (memory_of_letkf(1_000_000),))


def letkf_analysis(size: int) -> Callable[[], object]:
    """Return the analysis of 20 members, every variable observed, without a forecast."""
    model, E = Lorenz96(size), ensemble(20, size)
    obs = Observation(0.0, E[0], Identity(size), GaussianError(1.0, size))
    method = LETKF(model, radius=8.0, inflation=1.02)
    state, rng = method.init(E), np.random.default_rng(0)
    return lambda: method.step(state, obs, rng)


def memory_of_letkf(size: int) -> float:
    """Return what an analysis allocates at most, over the size of the ensemble."""
    work = letkf_analysis(size)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (20 * size * 8)


GROUPS = (cycles_against_dapper, letkf_at_scale)
