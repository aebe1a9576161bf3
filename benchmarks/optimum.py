"""Bayes-optimal scores of the small systems of the benchmark, by particle filters with more and more members.

    python benchmarks/optimum.py                    # half an hour on one core; writes results/optimum.csv, prints it
    python benchmarks/optimum.py --only ten_sparse  # one case; the rows of the others stay

With members to infinity and bandwidth to zero the regularised bootstrap filter gives the posterior mean, whose RMSE no
method undercuts. Truths and observations are the first cycles of the benchmark's own, seeds 1 to 5. Too small a
bandwidth for its members loses the truth, and too large a one smears the posterior, so every number of members is tried
with several. `moved` is what the best of the fewer members gained or lost by it, with the standard error of that paired
difference: where it is well below the standard error of the score, more members would not change it. The row that is
`chosen` is an upper bound on the optimum.

`rmse` is the time mean of the RMSE of the posterior mean, `rms` the root of the time mean of its square.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scoreda.assimilation import BootstrapPF, initial_ensemble
from scoreda.datasets import observations
from scoreda.experiments.config import Experiment, load_config
from scoreda.experiments.shipped import find_config
from scoreda.experiments.twins import twin_of_seed

RESULTS = Path(__file__).parent / "results" / "optimum.csv"
ORIGIN = "# benchmarks/optimum.py: regularised bootstrap particle filters, first cycles of the benchmark's twins\n"
SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Plan:
    """A case, where its scores begin and end, and the bandwidths that are tried with every number of members."""

    file: str
    case: str
    burn_in: int
    cycles: int
    bandwidths: dict[int, tuple[float, ...]]


THREE = {1000: (0.1, 0.2, 0.4), 4000: (0.05, 0.1, 0.2), 16_000: (0.025, 0.05)}
PLANS = [
    Plan("lorenz63", "lorenz63_sakov2012", 200, 1700, THREE),
    Plan("lorenz63", "wiljes2017", 200, 2200, THREE),
    Plan(
        "ten_variables", "ten_sparse", 100, 1100,
        {5000: (0.2, 0.28, 0.4), 20_000: (0.14, 0.2, 0.28), 80_000: (0.14, 0.2)},
    ),
    Plan(
        "ten_variables", "ten_student_t3", 100, 1100,
        {4000: (0.14, 0.2, 0.28), 16_000: (0.1, 0.14, 0.2)},
    ),
    Plan(
        "ten_variables", "ten_abs", 100, 1600,
        {3000: (0.14, 0.2, 0.28), 12_000: (0.1, 0.14, 0.2)},
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """What one number of members and one bandwidth score: one value per seed."""

    members: int
    bandwidth: float
    rmse: np.ndarray
    square: np.ndarray

    @property
    def mean(self) -> float:
        """RMSE over all seeds."""
        return float(self.rmse.mean())


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean over seeds."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def errors(plan: Plan, members: int, bandwidth: float, seed: int) -> np.ndarray:
    """Return the RMSE of every scored cycle."""
    config = load_config(Experiment, find_config(plan.file), [f"cases.{plan.case}.cycles={plan.cycles}"])
    twin, initial = twin_of_seed(config, plan.case, seed), config.cases[plan.case].initial
    rng = np.random.default_rng([seed, members])
    method = BootstrapPF(config.cases[plan.case].model.build(), bandwidth)
    state = method.init(initial_ensemble(twin, members, initial.kind, initial.std, rng=rng))
    found = []
    for obs, truth in zip(observations(twin), twin["truth"].values, strict=True):
        state, _ = method.step(state, obs, rng)
        found.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
    return np.array(found[plan.burn_in :])


def tried(plan: Plan, members: int, bandwidth: float) -> Trial:
    """Score one number of members and one bandwidth on all seeds."""
    scores = [errors(plan, members, bandwidth, seed) for seed in SEEDS]
    rmse, square = (np.array([np.mean(e**power) for e in scores]) for power in (1, 2))
    return Trial(members, bandwidth, rmse, square)


def trials(plan: Plan) -> Iterator[tuple[Trial, Trial | None]]:
    """Yield every trial, and the best one with fewer members."""
    before = None
    for members, bandwidths in plan.bandwidths.items():
        done = []
        for bandwidth in bandwidths:
            done.append(tried(plan, members, bandwidth))
            yield done[-1], before
        before = min(done, key=lambda trial: trial.mean)


def row(plan: Plan, trial: Trial, before: Trial | None) -> dict[str, Any]:
    """Return one row of the table."""
    known: dict[str, Any] = dict(case=plan.case, members=trial.members, bandwidth=trial.bandwidth, seeds=len(SEEDS))
    known |= dict(cycles=plan.cycles - plan.burn_in, rmse=f"{trial.mean:.4f}")
    known |= dict(standard_error=f"{standard_error(trial.rmse):.4f}", rms=f"{np.sqrt(trial.square.mean()):.4f}")
    if before is None:
        return known | dict(moved="", moved_error="", chosen="")
    moved = trial.rmse - before.rmse
    return known | dict(moved=f"{moved.mean():.4f}", moved_error=f"{standard_error(moved):.4f}", chosen="")


def table(plan: Plan) -> list[dict[str, Any]]:
    """Return the rows of a case; the best one with the most members is chosen."""
    rows = []
    for trial, before in trials(plan):
        rows.append(row(plan, trial, before))
        show(rows[-1])
    last = [one for one in rows if one["members"] == rows[-1]["members"]]
    min(last, key=lambda one: float(one["rmse"]))["chosen"] = "yes"
    return rows


def show(one: dict[str, Any]) -> None:
    """Print a row."""
    shown = "{case:20} {members:6} {bandwidth:5} {rmse} +- {standard_error}  rms {rms}  moved {moved} +- {moved_error}"
    print(shown.format(**one), flush=True)


def stored(but: set[str]) -> list[dict[str, Any]]:
    """Return the rows of an earlier run, without those of some cases."""
    if not RESULTS.is_file():
        return []
    with RESULTS.open(newline="") as file:
        next(file)
        return [one for one in csv.DictReader(file) if one["case"] not in but]


def write(rows: list[dict[str, Any]]) -> None:
    """Write all rows, in the order of the plans."""
    order = [plan.case for plan in PLANS]
    with RESULTS.open("w", newline="") as file:
        file.write(ORIGIN)
        out = csv.DictWriter(file, rows[0], lineterminator="\n")
        out.writeheader()
        out.writerows(sorted(rows, key=lambda one: order.index(one["case"])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[plan.case for plan in PLANS], help="one case")
    only = parser.parse_args().only
    for plan in PLANS:
        if only in (None, plan.case):
            write([*stored({plan.case}), *table(plan)])
