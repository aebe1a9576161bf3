"""The optimum of the larger systems where the floor may be too low: the posterior of windows, sampled.

    python benchmarks/window_mcmc.py             # an hour on one core; writes results/window_mcmc.csv, row by row
    python benchmarks/window_mcmc.py --only abs  # the rows of one case, or of several

Kalman's covariance along the truth (benchmarks/floor.py) knows neither a second mode nor curvature. Here the posterior
of the last K observations is sampled (`scoreda.verification.window_posterior`) from a Gaussian about a point that is
drawn around the true state K observations ago, so that the truth is one more draw from the posterior. The RMSE that its
mean is expected to have is then that of the draws about their mean, which varies far less than the one it happens to
have, the check beside it.

What came before the window is too narrow in one run (the covariance of the floor) and too wide in the other (four times
that). Both forget it as the window grows, and enclose the optimum, so far as the sampler has converged.

Truths are the benchmark's own, seeds 1 to 5, windows end every 160 cycles of the first 700, of small systems every 40
or 60; standard errors are those of the mean over windows. Compare with the floor at the same windows: it varies alike.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from result_tables import update_table

from scoreda.datasets import model_of, observations
from scoreda.experiments.config import Experiment, load_config
from scoreda.experiments.shipped import find_config
from scoreda.experiments.twins import twin_of_seed
from scoreda.verification import kalman_floor, window_posterior
from scoreda.verification.floor import expected_rmse

RESULTS = Path(__file__).parent / "results" / "window_mcmc.csv"
SEEDS, CYCLES = (1, 2, 3, 4, 5), 700
WIDER = {"narrow": 1.0, "wide": 4.0}  # covariances at the start of a window over the floor's
# case: its file, two lengths of a window, in observations, and cycles from one end to the next
CASES = {
    "every4": ("sparse", (24, 48), 160),
    "sparse_015_sd07": ("sparse_015", (8, 16), 160),
    "sparse_015_sd10": ("sparse_015", (8, 16), 160),
    "interval04": ("sakov2012", (3, 6), 160),
    "interval06": ("sakov2012", (2, 4), 160),
    "abs": ("abs", (6, 12), 160),
    "spantini2019": ("spantini2019", (3, 6), 160),
    "frei2013": ("frei2013", (3, 6), 160),
    "bocquet2010_m40": ("bocquet2010", (24, 48), 160),
    "lorenz63_sakov2012": ("lorenz63", (8, 16), 60),
    "wiljes2017": ("lorenz63", (20, 40), 60),
    "ten_sparse": ("ten_variables", (6, 15), 40),
    "ten_abs": ("ten_variables", (12, 24), 40),
    "ten_student_t3": ("ten_variables", (6, 12), 40),
}
SHOWN = "{case:16} {window:3} observations  narrow {narrow} +- {narrow_se}  wide {wide} +- {wide_se}  floor {floor}"


def posteriors(config: Experiment, case: str, length: int, wider: float) -> Iterator[tuple[float, float, float]]:
    """Yield, of every window, the expected RMSE of its posterior mean, the one it has, and that of the floor."""
    _, _, every = CASES[case]
    for seed in SEEDS:
        twin = twin_of_seed(config, case, seed)
        floor = list(kalman_floor(twin, config.cases[case].initial.std))
        truth, batches, model = twin["truth"].values, list(observations(twin)), model_of(twin)
        for end in range(160, CYCLES, every):
            first, rng = end - length, np.random.default_rng([seed, end])
            P = wider * floor[first]
            mean = rng.multivariate_normal(truth[first], P, method="eigh")
            window, start = batches[first + 1 : end + 1], batches[first].time
            E = window_posterior(model, window, mean, P, rng, time=start).end
            expected = np.sqrt(((E - E.mean(0)) ** 2).mean(1)).mean()
            yield float(expected), rmse(E.mean(0), truth[end]), expected_rmse(floor[end])


def rmse(x: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((x - truth) ** 2)))


def row(case: str, length: int) -> dict[str, Any]:
    """Return one row of the table."""
    file, _, _ = CASES[case]
    config = load_config(Experiment, find_config(file), [f"cases.{case}.cycles={CYCLES}"])
    found: dict[str, Any] = dict(case=case, window=length)
    for name, wider in WIDER.items():
        expected, had, floor = np.array(list(posteriors(config, case, length, wider))).T
        for column, values in {name: expected, f"{name}_had": had}.items():
            found |= {column: f"{values.mean():.4f}", f"{column}_se": f"{values.std(ddof=1) / len(values) ** 0.5:.4f}"}
        found |= dict(floor=f"{floor.mean():.4f}", windows=len(floor))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE", help="cases")
    for case in parser.parse_args().only:
        for length in CASES[case][1]:
            found = row(case, length)
            print(SHOWN.format(**found), flush=True)
            update_table(RESULTS, [found], lambda row: (row["case"], str(row["window"])))
