"""The innovation chi-square: equal to its definition, and one for a consistent filter."""

import numpy as np
import pytest

from scoreda.assimilation.protocol import innovation_chi2
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
