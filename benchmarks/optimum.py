"""Bayes-optimal scores of the small systems of the benchmark, by particle filters with more and more members.

    python benchmarks/optimum.py                    # what is not there yet; writes results/optimum.csv, prints it
    python benchmarks/optimum.py --only ten_sparse  # one case

With members to infinity and bandwidth to zero the regularised bootstrap filter gives the posterior mean, whose RMSE no
method undercuts. Its kernel smears the posterior, less so with shrinkage, which keeps the covariance; too small a
bandwidth for its members loses the truth, and with shrinkage sooner. So several of each are tried, and every row is an
upper bound on the optimum. `by_members` is what a row gained or lost over the best one with the next smaller number of
members and as many cycles, and `by_bandwidth` over the one with the next wider kernel, both paired by seed, with their
standard errors: where both are well below the standard error of the score, a further step would not change it. Which
row is quoted, and which runs lost the truth, is told in docs/benchmark.md.

Truths and observations are the benchmark's own, from seed 1 and from the first cycle on. Rows that are in the file are
not computed again, so a plan may grow.

`rmse` is the time mean of the RMSE of the posterior mean, `rms` the root of the time mean of its square.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from result_tables import write_table

from scoreda.assimilation import BootstrapPF, initial_ensemble
from scoreda.datasets import observations
from scoreda.experiments.config import Experiment, load_config
from scoreda.experiments.shipped import find_config
from scoreda.experiments.twins import twin_of_seed

RESULTS = Path(__file__).parent / "results" / "optimum.csv"
ORIGIN = "# benchmarks/optimum.py: regularised bootstrap particle filters, first cycles of the benchmark's twins\n"


class Setting(NamedTuple):
    """What is tried, on how many scored cycles of each of the first seeds."""

    members: int
    bandwidth: float
    shrinkage: bool
    cycles: int
    seeds: int = 5
    threshold: float = 1.0
    duplicates_only: bool = False


@dataclass(frozen=True)
class Plan:
    """A case, the cycles before the first that is scored, and what is tried."""

    file: str
    case: str
    burn_in: int
    settings: tuple[Setting, ...]


def plain(cycles: int, *tried: tuple[int, float], seeds: int = 5) -> tuple[Setting, ...]:
    """Return settings without shrinkage: members and bandwidths."""
    return tuple(Setting(members, bandwidth, False, cycles, seeds) for members, bandwidth in tried)


def shrunk(cycles: int, *tried: tuple[int, float], seeds: int = 5) -> tuple[Setting, ...]:
    """Return settings with shrinkage: members and bandwidths."""
    return tuple(Setting(members, bandwidth, True, cycles, seeds) for members, bandwidth in tried)


def rarely(cycles: int, *tried: tuple[int, float], seeds: int = 5) -> tuple[Setting, ...]:
    """Return settings that resample below a tenth of the members and move duplicates only: members and bandwidths."""
    return tuple(Setting(members, bandwidth, False, cycles, seeds, 0.1, True) for members, bandwidth in tried)


RARELY = rarely(1000, (1000, 0.2), (4000, 0.2), (4000, 0.1), (16_000, 0.1), (16_000, 0.05))
RARELY += rarely(1000, (64_000, 0.05)) + rarely(1000, (16_000, 0.05), seeds=40)
# Long runs of wide kernels, to which steps to narrow ones, paired on fewer cycles, are added.
LORENZ63 = plain(1000, (1000, 0.2), (4000, 0.1), (16_000, 0.05)) + plain(20_000, (1000, 0.2))
PLANS = [
    Plan(
        "lorenz63",
        "lorenz63_sakov2012",
        200,
        LORENZ63
        + plain(8000, (16_000, 0.05))
        + plain(1000, (4000, 0.2))
        + plain(20_000, (4000, 0.2))
        + plain(1000, (16_000, 0.05), seeds=40)
        + RARELY,
    ),
    Plan("lorenz63", "wiljes2017", 200, LORENZ63 + plain(1000, (64_000, 0.025)) + RARELY),
    Plan(
        "ten_variables",
        "ten_sparse",
        100,
        shrunk(500, (8000, 0.3), (8000, 0.2), (8000, 0.14))
        + plain(1000, (5000, 0.4), (20_000, 0.2), (50_000, 0.2))
        + shrunk(500, (32_000, 0.3), (32_000, 0.2), (64_000, 0.2))
        + shrunk(2000, (64_000, 0.2))
        + plain(20_000, (5000, 0.4))
        + shrunk(1000, (64_000, 0.2))
        + shrunk(1000, (64_000, 0.2), seeds=10)
        + rarely(1000, (16_000, 0.2), (64_000, 0.2)),
    ),
    Plan(
        "ten_variables",
        "ten_student_t3",
        100,
        plain(1000, (4000, 0.2), (16_000, 0.14), (16_000, 0.2))
        + shrunk(500, (8000, 0.3), (8000, 0.2), (32_000, 0.3), (32_000, 0.2), (32_000, 0.14))
        + shrunk(3000, (32_000, 0.14)),
    ),
    Plan(
        "ten_variables",
        "ten_abs",
        100,
        plain(1500, (3000, 0.2), (12_000, 0.2), (12_000, 0.14))
        + shrunk(500, (8000, 0.2), (8000, 0.14), (32_000, 0.14))
        + shrunk(7000, (32_000, 0.14))
        + shrunk(500, (64_000, 0.1)),
    ),
]


@dataclass(frozen=True)
class Score:
    """The RMSE of every seed, and the root mean square of all."""

    rmse: np.ndarray
    rms: float


Scores = dict[Setting, Score]
Known = dict[tuple[str, Setting], Score]


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean over seeds."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def errors(plan: Plan, setting: Setting, seed: int) -> np.ndarray:
    """Return the RMSE of every scored cycle."""
    cycles = plan.burn_in + setting.cycles
    config = load_config(Experiment, find_config(plan.file), [f"cases.{plan.case}.cycles={cycles}"])
    twin, initial = twin_of_seed(config, plan.case, seed), config.cases[plan.case].initial
    rng = np.random.default_rng([seed, setting.members])
    resampling = setting.bandwidth, setting.shrinkage, setting.threshold, setting.duplicates_only
    method = BootstrapPF(config.cases[plan.case].model.build(), *resampling)
    state = method.init(initial_ensemble(twin, setting.members, initial.kind, initial.std, rng=rng))
    found = []
    for obs, truth in zip(observations(twin), twin["truth"].values, strict=True):
        state, _ = method.step(state, obs, rng)
        found.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
    return np.array(found[plan.burn_in :])


def tried(plan: Plan, setting: Setting) -> Score:
    """Score a setting on its seeds."""
    scores = [errors(plan, setting, seed) for seed in range(1, setting.seeds + 1)]
    return Score(np.array([np.mean(e) for e in scores]), float(np.sqrt(np.mean(np.square(scores)))))


def fewer(setting: Setting, scores: Scores) -> Score:
    """Return the best score with the next smaller number of members; the setting's own if there is none."""
    alike = [o for o in scores if o[2:] == setting[2:] and o.members < setting.members]
    most = max((o.members for o in alike), default=0)
    return min((scores[o] for o in alike if o.members == most), default=scores[setting], key=lambda s: s.rmse.mean())


def wider(setting: Setting, scores: Scores) -> Score:
    """Return the score with the next wider kernel, all else alike; the setting's own if there is none."""
    alike = [
        o for o in scores if o._replace(bandwidth=setting.bandwidth) == setting and o.bandwidth > setting.bandwidth
    ]
    return scores[min(alike, default=setting)]


def rows_of(plan: Plan, known: Known) -> Iterator[dict[str, Any]]:
    """Yield the rows of a case, as far as they are known."""
    found = {setting: known[plan.case, setting] for setting in plan.settings if (plan.case, setting) in known}
    for setting, score in found.items():
        yield dict(
            case=plan.case,
            **{name: cell(value) for name, value in setting._asdict().items()},
            rmse=f"{score.rmse.mean():.4f}",
            standard_error=f"{standard_error(score.rmse):.4f}",
            rms=f"{score.rms:.4f}",
            by_members=moved(score, fewer(setting, found)),
            by_bandwidth=moved(score, wider(setting, found)),
            by_seed=" ".join(f"{value:.5f}" for value in score.rmse),
        )


def cell(value: float | bool) -> float | str:
    """Return a number as it is, and what is true or false in words."""
    return ("no", "yes")[value] if isinstance(value, bool) else value


def moved(score: Score, before: Score) -> str:
    """Return the mean difference by seed and its standard error; nothing if there was no step."""
    if before is score:
        return ""
    difference = score.rmse - before.rmse
    return f"{difference.mean():.4f} {standard_error(difference):.4f}"


def stored() -> Known:
    """Return what is in the file."""
    if not RESULTS.is_file():
        return {}
    with RESULTS.open(newline="") as file:
        next(file)
        return {key(one): score(one) for one in csv.DictReader(file)}


def key(one: dict[str, str]) -> tuple[str, Setting]:
    """Return what a row is about."""
    members, bandwidth, cycles = int(one["members"]), float(one["bandwidth"]), int(one["cycles"])
    threshold, duplicates = float(one.get("threshold", 1.0)), one.get("duplicates_only") == "yes"
    seeds = len(one["by_seed"].split())
    return one["case"], Setting(members, bandwidth, one["shrinkage"] == "yes", cycles, seeds, threshold, duplicates)


def score(one: dict[str, str]) -> Score:
    """Return the score of a row."""
    return Score(np.array(one["by_seed"].split(), dtype=float), float(one["rms"]))


def write(known: Known) -> None:
    """Write all rows, in the order of the plans."""
    rows = [row for plan in PLANS for row in rows_of(plan, known)]
    write_table(RESULTS, rows, origin=ORIGIN)


def run(plan: Plan, known: Known) -> None:
    """Try what is not known yet, write every row when it is there, and print the case."""
    for setting in plan.settings:
        if (plan.case, setting) not in known:
            known[plan.case, setting] = tried(plan, setting)
            write(known)
    for one in rows_of(plan, known):
        print(*one.values(), sep="  ", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[plan.case for plan in PLANS], help="one case")
    only, known = parser.parse_args().only, stored()
    for plan in PLANS:
        if only in (None, plan.case):
            run(plan, known)
