"""The kernels behind `verify` against the plain formulas: any number of members and variables, gaps, ties."""

import numpy as np
import pytest

from scoreda.verification import arrays
from scoreda.verification.proper_scores import energy_score, log_score
from scoreda.verification.score_kernels import _sort_members, energy_scores, member_statistics
from scoreda.verification.verify import _analysis_scores

CYCLES = 4
SHAPES = [(1, 1), (2, 40), (3, 7), (7, 1), (8, 64), (28, 40), (33, 150)]  # members, variables: up to three windows
close = lambda found, expected: np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def fields(members, size, seed=11):
    rng = np.random.default_rng(seed)
    x = 4 * rng.normal(size=(CYCLES, size))
    return x[:, None] + 1 + rng.normal(size=(CYCLES, members, size)), x


@pytest.mark.parametrize(("members", "size"), SHAPES)
def test_that_statistics_of_members_are_the_plain_formulas(members, size):
    E, x = fields(members, size)
    mean, variance, crps, low, high = member_statistics(E, x)
    close(mean, E.mean(1))
    close(np.sqrt(variance.mean(-1)), arrays.spread(E))
    close(crps.mean(-1), arrays.crps(E, x))
    np.testing.assert_array_equal((low, high), arrays.rank_bounds(E, x))
    close(energy_scores(E, x), energy_score(E, x))


@pytest.mark.parametrize("members", [1, 2, 3, 6, 16, 17, 100])
def test_that_exchanges_of_rows_sort_every_column(members):
    X = np.random.default_rng(members).integers(0, 50, size=(members, 9)).astype(float)
    expected = np.sort(X, axis=0)
    _sort_members(X)
    np.testing.assert_array_equal(X, expected)


def test_that_ties_between_truth_and_members_leave_the_plain_rank_bounds():
    rng = np.random.default_rng(2)
    E, x = (rng.integers(0, 4, size=shape).astype(float) for shape in ((CYCLES, 9, 70), (CYCLES, 70)))
    statistics = member_statistics(E, x)
    np.testing.assert_array_equal(statistics[3:], arrays.rank_bounds(E, x))
    assert (statistics[4] > statistics[3]).mean() > 0.5
    close(statistics[2].mean(-1), arrays.crps(E, x))


def test_that_equal_members_are_at_no_distance_from_each_other():
    E = np.tile(np.linspace(0, 1e3, 5), (CYCLES, 8, 1))
    np.testing.assert_allclose(energy_scores(E, E[:, 0] + 2), 2, rtol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_that_one_member_that_is_not_finite_spoils_what_it_spoils_in_the_plain_formulas(value):
    E, x = fields(9, 70)
    E[1, 3, 2], E[2, 8, 66] = value, value
    _, _, crps, low, high = member_statistics(E, x)
    np.testing.assert_array_equal((low, high), arrays.rank_bounds(E, x))
    close(crps.mean(-1), arrays.crps(E, x))
    close(energy_scores(E, x), energy_score(E, x))


def test_that_a_gap_in_the_truth_makes_the_scores_of_that_field_undefined():
    E, x = fields(9, 70)
    x[2, 68] = np.nan
    for name, values in _analysis_scores(E, x).items():
        assert np.isnan(values).tolist() == [False, False, name != "spread_a", False]


@pytest.mark.parametrize("members", [1, 2, 3, 4])
def test_that_few_members_have_the_scores_that_the_plain_formulas_give_them(members):
    E, x = fields(members, 6)
    found = _analysis_scores(E, x)
    undefined = np.full(CYCLES, np.nan)
    close(found.get("log_score_a", undefined), log_score(E, x))
    close(found["spread_a"], arrays.spread(E))
    close(found["crps_a"], arrays.crps(E, x))
    close(found["coverage50_a"], arrays.coverage(E, x, 0.5))
