"""Bayes-optimal scores of the small systems of the benchmark, by particle filters with more and more members.

    python benchmarks/optimum.py                    # ten minutes on one core; writes results/optimum.csv, prints it
    python benchmarks/optimum.py --only ten_sparse  # one case

With members to infinity and bandwidth to zero the regularised bootstrap filter gives the posterior mean, whose RMSE no
method undercuts. Truths and observations are the first cycles of the benchmark's own, seeds 1 to 5. Too small a
bandwidth for its members loses the truth, and too large a one smears the posterior, so every number of members is tried
with several. `moved` is what the best of the fewer members gained or lost by it, with the standard error of that paired
difference: where it is well below the standard error of the score, more members would not change it. The row that is
`chosen` is an upper bound on the optimum. Rows that are in the file are not computed again, so a plan may grow.

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


PLANS = [
    Plan("lorenz63", "lorenz63_sakov2012", 200, 1200, {1000: (0.2,), 4000: (0.1,), 16_000: (0.05,)}),
    Plan("lorenz63", "wiljes2017", 200, 1200, {1000: (0.2,), 4000: (0.1,), 16_000: (0.05,)}),
    Plan("ten_variables", "ten_sparse", 100, 1100, {5000: (0.4,), 20_000: (0.2,), 50_000: (0.2,)}),
    Plan("ten_variables", "ten_student_t3", 100, 1100, {4000: (0.2,), 16_000: (0.14, 0.2)}),
    Plan("ten_variables", "ten_abs", 100, 1600, {3000: (0.2,), 12_000: (0.14, 0.2)}),
]


@dataclass(frozen=True)
class Trial:
    """What one number of members and one bandwidth score: the RMSE of every seed, and the root mean square of all."""

    members: int
    bandwidth: float
    rmse: np.ndarray
    rms: float

    @property
    def mean(self) -> float:
        """RMSE over all seeds."""
        return float(self.rmse.mean())


Known = dict[tuple[str, int, float], Trial]


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
    rmse = np.array([np.mean(e) for e in scores])
    return Trial(members, bandwidth, rmse, float(np.sqrt(np.mean(np.square(scores)))))


def rows_of(plan: Plan, known: Known) -> Iterator[dict[str, Any]]:
    """Yield the rows of a case, as far as they are known; the best one with the most members is chosen."""
    before, best = None, None
    for members, bandwidths in plan.bandwidths.items():
        keys = [(plan.case, members, bandwidth) for bandwidth in bandwidths]
        trials = [known[key] for key in keys if key in known]
        best = min(trials, key=lambda trial: trial.mean, default=best)
        last = not any(case == plan.case and more > members for case, more, _ in known)
        for trial in trials:
            yield row(plan, trial, before) | dict(chosen="yes" if last and trial is best else "")
        before = best


def row(plan: Plan, trial: Trial, before: Trial | None) -> dict[str, Any]:
    """Return one row of the table; `before` is the best trial with fewer members."""
    moved = trial.rmse - before.rmse if before else None
    return dict(
        case=plan.case,
        members=trial.members,
        bandwidth=trial.bandwidth,
        cycles=plan.cycles - plan.burn_in,
        rmse=f"{trial.mean:.4f}",
        standard_error=f"{standard_error(trial.rmse):.4f}",
        rms=f"{trial.rms:.4f}",
        moved="" if moved is None else f"{moved.mean():.4f}",
        moved_error="" if moved is None else f"{standard_error(moved):.4f}",
        by_seed=" ".join(f"{value:.5f}" for value in trial.rmse),
    )


def show(one: dict[str, Any]) -> None:
    """Print a row."""
    shown = "{case:20} {members:6} {bandwidth:5} {rmse} +- {standard_error}  rms {rms}  moved {moved} +- {moved_error}"
    print(shown.format(**one), flush=True)


def stored() -> Known:
    """Return the trials that are in the file."""
    if not RESULTS.is_file():
        return {}
    with RESULTS.open(newline="") as file:
        next(file)
        return {key(one): trial(one) for one in csv.DictReader(file)}


def key(one: dict[str, str]) -> tuple[str, int, float]:
    """Return what a row is about."""
    return one["case"], int(one["members"]), float(one["bandwidth"])


def trial(one: dict[str, str]) -> Trial:
    """Return the trial of a row."""
    return Trial(*key(one)[1:], np.array(one["by_seed"].split(), dtype=float), float(one["rms"]))


def write(known: Known) -> None:
    """Write all rows, in the order of the plans."""
    rows = [row for plan in PLANS for row in rows_of(plan, known)]
    with RESULTS.open("w", newline="") as file:
        file.write(ORIGIN)
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def run(plan: Plan, known: Known) -> None:
    """Try what is not known yet, write every row when it is there, and print the case."""
    for members, bandwidths in plan.bandwidths.items():
        for bandwidth in bandwidths:
            if (plan.case, members, bandwidth) not in known:
                known[plan.case, members, bandwidth] = tried(plan, members, bandwidth)
                write(known)
    for one in rows_of(plan, known):
        show(one)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[plan.case for plan in PLANS], help="one case")
    only, known = parser.parse_args().only, stored()
    for plan in PLANS:
        if only in (None, plan.case):
            run(plan, known)
