"""The xarray face: the same numbers as the array core, whatever the chunk, the order of dimensions or the gaps."""

import sys

import numpy as np
import pytest
import xarray as xr

from scoreda.errors import ScoredaError
from scoreda.verification import arrays, distributions, rank_counts, spread_skill_of, summary, tracking, verify
from scoreda.verification.calibration import spread_skill
from scoreda.verification.proper_scores import energy_score, log_score
from scoreda.verification.spectra import error_spectrum, spread_spectrum


def make_run(cycles=30, members=5, size=4, seed=1):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(cycles, size))
    prior = truth[:, None] + rng.normal(size=(cycles, members, size)) * np.linspace(3, 1, cycles)[:, None, None]
    return xr.Dataset(
        {
            "truth": (("time", "space"), truth),
            "prior": (("time", "member", "space"), prior.astype(np.float32)),
            "analysis": (("time", "member", "space"), (0.5 * prior).astype(np.float32)),
            "chi2": ("time", rng.chisquare(4, cycles) / 4),
        },
        coords={"time": 0.05 * np.arange(1, cycles + 1)},
        attrs={"method": "etkf", "diverged": -1},
    )


def test_that_each_cycle_is_scored_as_by_the_array_core():
    run = make_run()
    scores = verify(run)
    truth, prior, analysis = (run[name].values for name in ("truth", "prior", "analysis"))
    expected = {
        "rmse_a": arrays.rmse(analysis, truth),
        "rmse_f": arrays.rmse(prior, truth),
        "spread_a": arrays.spread(analysis),
        "spread_f": arrays.spread(prior),
        "crps_a": arrays.crps(analysis, truth),
        "coverage90_a": arrays.coverage(analysis, truth, 0.9),
        "chi2": run["chi2"].values,
        "bias_a": arrays.bias(analysis, truth),
        "crps_f": arrays.crps(prior, truth),
        "log_score_a": log_score(analysis, truth),
        "energy_score_a": energy_score(analysis, truth),
        "coverage50_a": arrays.coverage(analysis, truth, 0.5),
    }
    assert set(scores.data_vars) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(scores[name], values, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(scores["time"], run["time"])


def test_that_the_result_depends_neither_on_the_chunk_nor_on_the_order_of_dimensions(monkeypatch):
    run = make_run()
    whole, counts = verify(run), rank_counts(run, burn_in=3)
    monkeypatch.setattr(sys.modules["scoreda.verification.verify"], "CHUNK_VALUES", 7 * 5 * 4)
    xr.testing.assert_identical(verify(run), whole)
    xr.testing.assert_identical(verify(run.transpose("member", "space", "time").assign(truth=run["truth"])), whole)
    np.testing.assert_array_equal(rank_counts(run, burn_in=3), counts)


def test_that_distributions_are_those_of_the_array_core_after_burn_in(monkeypatch):
    run = make_run()
    truth, E = run["truth"].values[4:], run["analysis"].values[4:]
    found = distributions(run, burn_in=4)
    np.testing.assert_array_equal(found["rank_counts"], rank_counts(run, burn_in=4))
    np.testing.assert_allclose(found["error_spectrum"], error_spectrum(E, truth).mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["spread_spectrum"], spread_spectrum(E).mean(0), rtol=1e-12)
    for bins, expected in zip(spread_skill_of(found), spread_skill(E, truth), strict=True):
        np.testing.assert_allclose(bins, expected, rtol=1e-12)
    monkeypatch.setattr(sys.modules["scoreda.verification.verify"], "CHUNK_VALUES", 7 * 5 * 4)
    xr.testing.assert_allclose(distributions(run, burn_in=4), found, rtol=1e-12)


def test_that_costly_scores_of_many_members_are_those_of_every_third_on_average():
    run = make_run(cycles=200, members=250)
    E, truth = run["analysis"].values, run["truth"].values
    np.testing.assert_allclose(verify(run)["energy_score_a"], energy_score(E[:, ::3], truth), rtol=0, atol=1e-12)
    assert verify(run)["energy_score_a"].mean() == pytest.approx(energy_score(E, truth).mean(), rel=0.01)


def test_that_the_summary_is_the_time_mean_after_burn_in():
    run, scores = make_run(), verify(make_run())
    numbers = summary(run, burn_in=10)
    assert numbers["rmse_a"] == pytest.approx(scores["rmse_a"].values[10:].mean(), rel=1e-12)
    assert numbers["coverage90_a"] == pytest.approx(scores["coverage90_a"].values[10:].mean(), rel=1e-12)
    assert (numbers["cycles"], numbers["diverged"]) == (20, -1)
    assert np.isnan(numbers["lock_cycles"])
    assert verify(run, burn_in=10).attrs["rmse_a"] == numbers["rmse_a"]


def test_that_chi2_averages_the_cycles_with_observations_and_other_gaps_spread():
    run = make_run()
    run["chi2"][[4, 20]] = np.nan
    run["prior"][12] = np.nan
    numbers = summary(run)
    assert numbers["chi2"] == pytest.approx(np.nanmean(run["chi2"]))
    assert np.isnan(numbers["rmse_f"]) and np.isfinite(numbers["rmse_a"])


def test_that_a_run_without_prior_and_chi2_leaves_those_scores_undefined():
    numbers = summary(make_run().drop_vars(["prior", "chi2"]))
    assert {name for name, value in numbers.items() if np.isnan(value)} == {
        "rmse_f", "spread_f", "crps_f", "chi2", "lock_cycles",
    }  # fmt: skip


@pytest.mark.parametrize(("bad", "expected"), [((), 0), ((0, 5), 6), ((0, 5, 10, 30), 31), ((10, 30, 45), -1)])
def test_that_lock_on_is_the_first_of_twenty_low_cycles(bad, expected):
    run = make_run(cycles=55)
    error = np.full(55, 0.39)
    error[list(bad)] = 0.41
    run["analysis"] = (run["truth"] + xr.DataArray(error, dims="time")).expand_dims(member=5, axis=1)
    assert summary(run, burn_in=50, lock_level=0.2)["lock_cycles"] == expected


def test_that_what_counts_as_locked_is_said_in_one_place(monkeypatch):
    assert summary(make_run(cycles=5), lock_level=1e3)["lock_cycles"] == -1
    monkeypatch.setattr(tracking, "LOCKED_FOR", 5)
    assert summary(make_run(cycles=5), lock_level=1e3)["lock_cycles"] == 0


def test_that_a_run_that_never_stays_low_has_not_locked_on():
    assert summary(make_run(), lock_level=1e-3)["lock_cycles"] == -1
    assert summary(make_run(cycles=19), lock_level=1e3)["lock_cycles"] == -1


def test_that_a_diverged_run_keeps_its_cycle_and_has_no_mean_score():
    run = make_run().assign_attrs(diverged=17)
    run["analysis"][17:] = np.nan
    numbers = summary(run)
    assert numbers["diverged"] == 17 and np.isnan(numbers["rmse_a"])
    assert rank_counts(run).sum() == 17 * 4


def test_that_the_rank_counts_are_those_of_the_array_core():
    run = make_run()
    ranks = arrays.ranks(run["analysis"].values[8:], run["truth"].values[8:])
    np.testing.assert_array_equal(rank_counts(run, burn_in=8), arrays.rank_histogram(ranks, 5))


def test_that_a_lazily_opened_file_gives_the_same_scores(tmp_path):
    run = make_run()
    run.to_netcdf(tmp_path / "analysis.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "analysis.nc", engine="netcdf4") as opened:
        xr.testing.assert_identical(verify(opened), verify(run))


def test_that_an_incomplete_run_and_a_long_burn_in_are_refused():
    with pytest.raises(ScoredaError, match=r"lacks analysis; it holds truth, prior, chi2"):
        verify(make_run().drop_vars("analysis"))
    with pytest.raises(ScoredaError, match=r"at least one of the 30 cycles, got 30"):
        summary(make_run(), burn_in=30)
