"""A floor for the larger systems of the benchmark: the Kalman filter of the system linearised along the truth.

    python benchmarks/floor.py                   # three minutes on one core; writes results/floor.csv and prints it
    python benchmarks/floor.py --only sakov2008  # prints one case

No particle filter reaches the optimum of 40 variables. The covariance that a Kalman filter would have if it knew where
to linearise (`scoreda.verification.kalman_floor`) says how far the scores of a case may fall: an indication and no
bound, and no filter need reach it. For the small systems benchmarks/optimum.py has the optimum itself: where the two
agree the posterior is nearly Gaussian, and where the optimum is above, errors have left the range of the tangent.

Truths are the first 700 cycles of the benchmark's own, seeds 1 to 5, of which 100 are not counted. `rmse` is the mean
over time of the expected RMSE of a Gaussian error with that covariance, `rms` the root of the mean variance; the
standard error is that of `rmse` over the seeds. `elsewhere` is the lowest score that the case file expects of a method.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from result_tables import write_table

from scoreda.experiments.config import Case, Experiment, load_config
from scoreda.experiments.shipped import find_config
from scoreda.experiments.twins import twin_of_seed
from scoreda.verification import kalman_floor
from scoreda.verification.floor import expected_rmse

RESULTS = Path(__file__).parent / "results" / "floor.csv"
ORIGIN = "# benchmarks/floor.py: Kalman covariances along the truth, first cycles of the benchmark's twins\n"
SEEDS, BURN_IN, CYCLES = (1, 2, 3, 4, 5), 100, 700
# file: its cases, those left out whose truth has another model than the methods
FILES = {
    "sakov2008": ("sakov2008",),
    "sparse": ("every2", "every4"),
    "sparse_015": ("sparse_015_sd07", "sparse_015_sd10"),
    "sakov2012": ("interval02", "interval04", "interval06"),
    "heavy_tails": ("student_t3", "laplace"),
    "todter2015": ("todter2015",),
    "abs": ("abs",),
    "bao2024": ("bao2024_40", "bao2024_100"),
    "acquisition": ("acquire_x", "acquire_arctan", "acquire_abs", "acquire_square", "acquire_log"),
    "elementwise": ("track_abs", "track_square", "acquire_tenth_square"),
    "bocquet2019": ("bocquet2019",),
    "sparse_arctan": ("sparse_arctan",),
    "spantini2019": ("spantini2019",),
    "frei2013": ("frei2013",),
    "bocquet2010": ("bocquet2010", "bocquet2010_m40"),
    "ring32": ("ring32",),
    "lorenz63": ("lorenz63_sakov2012", "wiljes2017"),
    "ten_variables": ("ten_sparse", "ten_student_t3", "ten_abs"),
}
SHOWN = "{case:20} {rmse} +- {standard_error}  rms {rms}  elsewhere {elsewhere:5} {method:12} {source}"


def scores(config: Experiment, case: str, seed: int) -> tuple[float, float]:
    """Return the mean expected RMSE and the mean variance over the scored cycles of one seed."""
    std = config.cases[case].initial.std
    covariances = list(kalman_floor(twin_of_seed(config, case, seed), std))[BURN_IN:]
    rmse = [expected_rmse(P) for P in covariances]
    return float(np.mean(rmse)), float(np.mean([np.trace(P) / len(P) for P in covariances]))


def lowest(case: Case) -> dict[str, Any]:
    """Return the lowest score that a case expects, of which method, and whence."""
    if not case.expected:
        return dict(elsewhere="", method="", source="")
    name, best = min(case.expected.items(), key=lambda item: item[1].rmse_a)
    return dict(elsewhere=best.rmse_a, method=name, source=best.source)


def row(file: str, case: str) -> dict[str, Any]:
    """Return one row of the table."""
    config = load_config(Experiment, find_config(file), [f"cases.{case}.cycles={CYCLES}"])
    rmse, variance = np.array([scores(config, case, seed) for seed in SEEDS]).T
    known: dict[str, Any] = dict(case=case, seeds=len(SEEDS), cycles=CYCLES - BURN_IN, rmse=f"{rmse.mean():.4f}")
    known |= dict(standard_error=f"{np.std(rmse, ddof=1) / np.sqrt(len(rmse)):.4f}")
    return known | dict(rms=f"{np.sqrt(variance.mean()):.4f}") | lowest(config.cases[case])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[case for cases in FILES.values() for case in cases], help="one case")
    only, rows = parser.parse_args().only, []
    for file, case in ((file, case) for file, cases in FILES.items() for case in cases):
        if only in (None, case):
            rows.append(row(file, case))
            print(SHOWN.format(**rows[-1]), flush=True)
    if only is None:
        write_table(RESULTS, rows, origin=ORIGIN)
