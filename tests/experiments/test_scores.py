"""The row of one cell: every score from its definition, and nothing where it makes no sense."""

import numpy as np
import pytest
import xarray as xr

from scoreda.assimilation import assimilate, initial_ensemble
from scoreda.assimilation.baselines import ETKF, BootstrapPF
from scoreda.datasets import open_dataset, simulate, write_dataset
from scoreda.experiments.scores import COLUMNS, score_run
from scoreda.models import Lorenz96
from scoreda.observations import GaussianError, Identity, Network, StudentTError
from scoreda.verification import rank_counts
from scoreda.verification.calibration import spread_skill
from scoreda.verification.time_means import mean_interval, standard_error

MODEL = Lorenz96(size=8)


def make_run(error, cycles=60, seed=1, method=None):
    twin = simulate(MODEL, Network(Identity(8), error, 0.05), cycles, seed=seed)
    rng = np.random.default_rng(seed)
    return assimilate(twin, method or ETKF(MODEL), initial_ensemble(twin, 20, rng=rng), rng=rng)


@pytest.fixture(scope="module")
def run():
    return make_run(GaussianError(1.0, 8))


def test_that_every_column_of_a_run_is_known_or_of_the_configuration(run):
    row, _ = score_run(run, 10, lock_level=0.5)
    given = {"case", "method", "seed", "members", "expected", "source", "tuning", "network_evals", "ess"}
    given |= {"expected_locked"}
    assert set(COLUMNS) - set(row) == given and set(row) < set(COLUMNS)
    assert all(np.isfinite(value) for name, value in row.items() if name != "relock_cycles")


def test_that_the_new_columns_follow_their_definitions(run):
    row, statistics = score_run(run, 10)
    E, x = run["analysis"].values[10:].astype(float), run["truth"].values[10:]
    error, counts = E.mean(1) - x, rank_counts(run, 10)
    assert row["bias_a"] == pytest.approx(error.mean())
    assert row["rmse_a_se"] == standard_error(statistics["rmse_a"].values[10:])
    assert (row["rmse_a_low"], row["rmse_a_high"]) == mean_interval(statistics["rmse_a"].values[10:])
    assert row["spread_skill_a"] == pytest.approx(np.sqrt(21 / 20 * E.var(1, ddof=1).mean() / (error**2).mean()))
    assert row["spread_skill_a"] == pytest.approx(spread_skill(E, x).ratio(20))
    assert row["rank_flatness"] == pytest.approx(((counts - counts.mean()) ** 2).sum() / counts.mean() / 20)
    below = counts.cumsum() / counts.sum()
    assert row["pit_distance"] == pytest.approx(np.abs(below - np.arange(1, 22) / 21).max())
    innovation, residual = (
        run["obs"].values - run[name].values.astype(float).mean(1) for name in ("prior", "analysis")
    )
    assert row["desroziers_r"] == pytest.approx((innovation * residual)[10:].mean())


def test_that_the_effective_members_are_averaged_over_the_scored_cycles_with_observations():
    run = make_run(GaussianError(1.0, 8), cycles=20, method=BootstrapPF(MODEL, threshold=0.5))
    run["ess"][12] = np.nan
    assert score_run(run, 10)[0]["ess"] == pytest.approx(np.delete(run["ess"].values, 12)[10:].mean())
    assert score_run(run.drop_vars("truth"), 10)[0]["ess"] == score_run(run, 10)[0]["ess"]
    run["ess"][:] = np.nan
    assert np.isnan(score_run(run, 10)[0]["ess"])


def test_that_the_diagnosed_error_is_compared_with_the_assumed_one(run):
    ratios = [score_run(run, 10, error=GaussianError(variance, 8))[0]["desroziers_r"] for variance in (1.0, 4.0)]
    assert ratios[0] == pytest.approx(4 * ratios[1])


def test_that_squares_of_student_t_errors_are_not_averaged():
    run = make_run(StudentTError(1.0, 8))
    row, _ = score_run(run, 10)
    assert np.isfinite(run["chi2"]).all() and np.isnan(row["chi2"]) and "desroziers_r" not in row
    assert row["rmse_a"] > 0


def test_that_a_run_without_truth_keeps_what_observations_tell(run):
    row, statistics = score_run(run.drop_vars("truth"), 10)
    assert statistics is None
    assert set(row) == {"chi2", "diverged", "cycles", "model_steps", "desroziers_r"}
    assert row["chi2"] == pytest.approx(float(run["chi2"][10:].mean()))


def test_that_an_operator_that_a_file_cannot_hold_leaves_the_diagnosis_empty(run):
    row, _ = score_run(run.assign_attrs(operator="null"), 10)
    assert "desroziers_r" not in row and row["chi2"] > 0


def test_that_scores_from_a_file_are_the_same_to_the_bit(run, tmp_path):
    write_dataset(run, tmp_path / "analysis.nc")
    row, statistics = score_run(run, 10, 0.5)
    with open_dataset(tmp_path / "analysis.nc") as again:
        found, same = score_run(again, 10, 0.5)
    assert {k: v for k, v in found.items() if v == v} == {k: v for k, v in row.items() if v == v}
    xr.testing.assert_equal(same, statistics)
