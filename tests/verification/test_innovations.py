"""Desroziers' diagnostics of a Kalman update with known covariances, and departures of a run."""

import numpy as np
import pytest
import xarray as xr

from scoreda.datasets import simulate
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96
from scoreda.observations import Elementwise, EveryNth, GaussianError, Network, UserOperator
from scoreda.verification.innovations import Departures, departures, desroziers

B = np.array([[2.0, 0.5], [0.5, 1.0]])
R = np.array([[0.5, 0.1], [0.1, 2.0]])


def test_that_departures_of_the_optimal_update_diagnose_both_covariances():
    rng = np.random.default_rng(1)
    d_b = rng.multivariate_normal(np.zeros(2), B + R, size=400_000)
    d_a = d_b - d_b @ np.linalg.solve(B + R, B)  # K = B (B + R)^-1
    found_R, found_B = desroziers(d_b, d_a)
    np.testing.assert_allclose(found_R, R, atol=0.02)
    np.testing.assert_allclose(found_B, B, atol=0.02)


def test_that_the_sum_is_the_covariance_of_the_innovations_whatever_the_gain():
    rng = np.random.default_rng(2)
    d_b, d_a = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    np.testing.assert_allclose(sum(desroziers(d_b, d_a)), d_b.T @ d_b / 50, rtol=1e-12)
    d_b[4, 1] = np.nan
    assert np.isfinite(desroziers(d_b, d_a)).all()


def test_that_the_ratio_counts_what_is_observed():
    error = GaussianError([1.0, 3.0], 2)
    forecast, analysis = np.array([[2.0, 3.0], [2.0, np.nan]]), np.array([[1.0, 2.0], [3.0, np.nan]])
    # (2 + 6 + 6) over 1 + 3 + 1
    assert Departures(forecast, analysis, error).error_ratio() == pytest.approx(14 / 5)
    assert np.isnan(Departures(forecast * np.nan, analysis, error).error_ratio())


def make_run(missing=0.3):
    operator = Elementwise(EveryNth(8, 2, start=1), "square")
    twin = simulate(Lorenz96(size=8), Network(operator, GaussianError(0.5, 4), 0.05), 6, seed=1, missing=missing)
    rng = np.random.default_rng(2)
    ensembles = {name: (("time", "member", "space"), rng.normal(size=(6, 5, 8))) for name in ("prior", "analysis")}
    return xr.Dataset({**twin.data_vars, **ensembles}, twin.coords, twin.attrs)


def test_that_departures_of_a_run_are_those_of_the_mean_of_what_is_observed():
    run = make_run()
    found = departures(run, burn_in=2)
    expected = run["obs"].values - (run["analysis"].values[..., 1::2] ** 2).mean(1)
    np.testing.assert_allclose(found.analysis, expected[2:], rtol=1e-12)
    assert found.forecast.shape == (4, 4) and found.error.variance.tolist() == [0.5] * 4
    assert departures(run, GaussianError(2.0, 4)).error.variance.tolist() == [2.0] * 4


def test_that_the_operator_of_a_user_is_passed_again():
    run, squared = make_run(), UserOperator(lambda E: E[..., 1::2] ** 2, 8, 4)
    found, known = departures(run.assign_attrs(operator="null"), operator=squared), departures(run)
    np.testing.assert_array_equal(found.forecast, known.forecast)
    np.testing.assert_array_equal(found.analysis, known.analysis)


@pytest.mark.parametrize("burn_in", [6, 7, -1])
def test_that_a_burn_in_that_leaves_no_cycle_is_refused(burn_in):
    with pytest.raises(ScoredaError, match=f"at least one of the 6 cycles, got {burn_in}. Pass a smaller one"):
        departures(make_run(), burn_in=burn_in)


def test_that_an_operator_that_only_its_code_knows_is_refused():
    with pytest.raises(ScoredaError, match="user's callable"):
        departures(make_run().assign_attrs(operator="null"))
