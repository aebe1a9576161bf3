"""Log and energy score against closed forms, double loops, and their own promise of fairness."""

import numpy as np
import pytest
from scipy.stats import norm

from scoreda.verification import arrays
from scoreda.verification.proper_scores import energy_score, gaussian_log_score, log_score


def fields(members, leading=(3, 2), size=5, seed=7):
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, size=(*leading, members, size)) + np.arange(size), rng.gamma(2.0, size=(*leading, size))


def root_mean_square(v):
    return np.sqrt(np.mean(v**2))


def test_that_the_gaussian_log_score_is_minus_the_log_density():
    rng = np.random.default_rng(1)
    mean, x, std = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.uniform(0.5, 2, size=3)
    expected = -norm(mean, std).logpdf(x).mean(-1)
    np.testing.assert_allclose(gaussian_log_score(mean, std**2, x), expected, rtol=1e-12)


@pytest.mark.parametrize("members", [4, 6, 15])
def test_that_the_log_score_of_few_members_is_that_of_their_distribution_on_average(members):
    rng, x = np.random.default_rng(2), 3.0
    E = 1 + 2 * rng.normal(size=(400_000, members, 1))
    scores = log_score(E, np.full((len(E), 1), x))
    exact = -norm(1, 2).logpdf(x)
    assert abs(scores.mean() - exact) < 5 * scores.std() / np.sqrt(len(E))
    # the score with plain moments is far away for so few members
    plain = gaussian_log_score(E.mean(-2), E.var(-2, ddof=1), np.full((len(E), 1), x))
    assert plain.mean() - exact > 20 * scores.std() / np.sqrt(len(E))


def test_that_the_log_score_of_many_members_is_the_gaussian_one():
    E, x = fields(members=20_000, leading=())
    assert log_score(E, x) == pytest.approx(gaussian_log_score(E.mean(0), E.var(0, ddof=1), x), abs=2e-3)


def test_that_the_energy_score_is_the_double_loop():
    E, x = fields(members=6)
    found = energy_score(E, x)
    for where in np.ndindex(3, 2):
        members, truth = E[where], x[where]
        accuracy = np.mean([root_mean_square(member - truth) for member in members])
        pairs = [root_mean_square(a - b) for a in members for b in members]
        assert found[where] == pytest.approx(accuracy - sum(pairs) / (2 * 6 * 5), rel=1e-12)


def test_that_the_energy_score_of_one_variable_is_the_crps():
    E, x = fields(members=9, size=1)
    np.testing.assert_allclose(energy_score(E, x), arrays.crps(E, x), rtol=1e-10)


def test_that_the_energy_score_sees_a_wrong_correlation_that_the_crps_does_not():
    rng = np.random.default_rng(4)
    common, alone = rng.normal(size=(4000, 21, 1)), rng.normal(size=(4000, 20, 8))
    x = common[:, 20] * np.ones(8)
    right, wrong = common[:, :20] * np.ones(8), alone
    assert arrays.crps(right, x).mean() == pytest.approx(arrays.crps(wrong, x).mean(), rel=0.03)
    assert energy_score(right, x).mean() < 0.95 * energy_score(wrong, x).mean()


def test_that_equal_members_have_an_energy_score_without_rounding_noise():
    E, x = np.tile(np.linspace(0, 1e3, 5), (8, 1)), np.linspace(0, 1e3, 5) + 2
    assert energy_score(E, x) == pytest.approx(2, rel=1e-7)


def test_that_scores_are_nan_where_members_are_too_few_or_nan():
    E, x = fields(members=5, leading=(2,))
    E[1, 3, 2] = np.nan
    for score in (log_score, energy_score):
        assert np.isnan(score(E, x)).tolist() == [False, True]
    assert np.isnan(log_score(E[:, :3], x)).all() and np.isnan(energy_score(E[:, :1], x)).all()
