import numpy as np
import pytest

from scoreda.verification.tracking import locked_cycles, tracking

# 5 cycles to find the truth, 30 locked, 8 lost, 40 locked, 19 low ones between two high ones, 3 NaN after divergence.
SPELLS = [(5, 3.0), (30, 0.2), (8, 2.0), (40, 0.3), (1, 1.0), (19, 0.1), (1, 1.0), (3, np.nan)]
DIVERGED = np.concatenate([np.full(*spell) for spell in SPELLS])


def test_that_a_filter_is_locked_after_twenty_good_cycles_in_a_row_and_not_before():
    expected = np.zeros(len(DIVERGED), dtype=bool)
    expected[5:35] = expected[43:83] = True
    np.testing.assert_array_equal(locked_cycles(DIVERGED, 0.25), expected)
    assert locked_cycles(np.full(20, 0.4), 0.25).all()
    assert not locked_cycles(np.full(19, 0.4), 0.25).any()


def test_that_the_three_numbers_are_those_of_the_spells():
    scores = tracking(DIVERGED, 0.25)
    assert scores["rmse_locked"] == pytest.approx((30 * 0.2 + 40 * 0.3) / 70, rel=1e-12)
    assert scores["lost_fraction"] == pytest.approx((5 + 8 + 21 + 3) / len(DIVERGED), rel=1e-12)
    assert scores["relock_cycles"] == 8  # the first search is no loss, the last one has no end


def test_that_the_burn_in_does_not_count():
    scores = tracking(DIVERGED, 0.25, burn_in=60)
    assert scores["rmse_locked"] == pytest.approx(0.3, rel=1e-12)
    assert scores["lost_fraction"] == pytest.approx(24 / 47, rel=1e-12)
    assert np.isnan(scores["relock_cycles"])


def test_that_a_filter_that_never_locks_has_no_score_while_locked():
    scores = tracking(np.full(50, 2.0), 0.25)
    assert np.isnan(scores["rmse_locked"])
    assert scores["lost_fraction"] == 1
