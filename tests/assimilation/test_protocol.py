"""The innovation chi-square: equal to its definition, and one for a consistent filter; model steps between times."""

import numpy as np
import pytest

from scoreda.assimilation.baselines.checks import checked_count
from scoreda.assimilation.protocol import innovation_chi2, whole_steps
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import CorrelatedGaussianError, Elementwise, GaussianError, Linear, Observation, Sites

RNG = np.random.default_rng
ERRORS = {
    "of several sizes": GaussianError([0.1, 2.0, 0.7], 3),
    "correlated": CorrelatedGaussianError([[1.0, 0.5, 0.0], [0.5, 2.0, 0.3], [0.0, 0.3, 0.4]]),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_that_the_chi_square_is_its_definition(error):
    E, y = RNG(0).normal(size=(7, 5)), RNG(1).normal(size=3)
    obs = Observation(0.1, y, Elementwise(Sites(5, [4, 0, 2]), "cube"), error)
    expected = 0.0
    for j, site in enumerate([4, 0, 2]):
        seen = [E[n, site] ** 3 for n in range(7)]
        mean = sum(seen) / 7
        variance = sum((value - mean) ** 2 for value in seen) / 6
        expected += (y[j] - mean) ** 2 / (variance + error.covariance[j, j]) / 3
    assert innovation_chi2(E, obs) == pytest.approx(expected, rel=1e-12)


def test_that_the_chi_square_of_a_consistent_ensemble_is_one_on_average():
    rng, members, draws = RNG(2), 200, 4000
    C = np.array([[2.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 0.5]])
    H, error = Linear([[1.0, 2.0, 0.0], [0.0, -1.0, 1.0]]), GaussianError([0.3, 1.5], 2)
    found = np.empty(draws)
    for k in range(draws):
        *E, truth = rng.multivariate_normal(np.zeros(3), C, size=members + 1)
        found[k] = innovation_chi2(np.array(E), Observation(0.0, H(truth) + error.sample(rng), H, error))
    assert found.mean() == pytest.approx(1.0, abs=5 * found.std() / np.sqrt(draws) + 2 / members)
    assert found.std() / np.sqrt(draws) < 0.02


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (999.0, 1000.001),  # a tenth of a step too long
        (9999.0, 10000.005),  # half a step
        (1e6, 1e6 + 1.0001),  # a hundredth
        (0.0, 0.010001),
        (0.02, 0.01),
    ],
)
def test_that_times_between_model_steps_are_refused_however_late(start, end):
    with pytest.raises(ValueError, match=r"with dt = 0\.01. Observation times must .* whole numbers of model steps"):
        whole_steps(Lorenz96(8, dt=0.01), start, end)


TIMES = {
    "multiples": 1e4 + 0.05 * np.arange(2000),
    "summed": 1e6 + np.cumsum(np.full(2000, 0.05)),
    "in single precision": (100 + 0.05 * np.arange(2000)).astype(np.float32),
    "divided": (2.4e6 + 1.2 * np.arange(2000)) / 24,
}


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("dt", [0.05, 0.01])
def test_that_rounded_times_are_a_whole_number_of_steps_apart(times, dt):
    times, model = times.astype(np.float64).tolist(), Lorenz96(8, dt=dt)
    pairs = [*zip(times[:-1], times[1:], strict=True), *zip(times[:-40], times[40:], strict=True)]
    one = round(0.05 / dt)
    assert [whole_steps(model, start, end) for start, end in pairs] == [one] * 1999 + [40 * one] * 1960


def test_that_seconds_of_an_epoch_are_told_from_one_another():
    model = UserModel(lambda E: E, 2, dt=300.0)
    assert whole_steps(model, 1.7e9, 1.7e9 + 21600) == 72
    with pytest.raises(ValueError, match="cannot step"):
        whole_steps(model, 1.7e9, 1.7e9 + 21640)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.5, 0])
def test_that_a_count_that_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match="`lag` must be a whole number from 1 on, got"):
        checked_count("lag", value)
