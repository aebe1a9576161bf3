"""Errors, observations with gaps, and networks."""

import numpy as np
import pytest

from scoreda.observations import Elementwise, GaussianError, Identity, Network, Observation, Sites


def test_that_errors_have_the_variances_asked_for():
    error = GaussianError(np.array([0.25, 4.0]), 2)
    rng = np.random.default_rng(0)
    sample = np.stack([error.sample(rng) for _ in range(20_000)])
    np.testing.assert_allclose(sample.var(axis=0), [0.25, 4.0], rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(sample.T)[0, 1], 0.0, atol=0.035)
    np.testing.assert_array_equal(error.std, [0.5, 2.0])


def test_that_a_scalar_variance_holds_for_every_observation():
    np.testing.assert_array_equal(GaussianError(0.3, 4).variance, np.full(4, 0.3))


@pytest.mark.parametrize("variance", [0.0, -1.0, np.nan, np.inf, [1.0, 0.0, 1.0]])
def test_that_a_variance_must_be_positive(variance):
    with pytest.raises(ValueError, match="must be positive and finite"):
        GaussianError(variance, 3)


def test_that_a_variance_must_have_the_right_length():
    with pytest.raises(ValueError, match=r"scalar or have shape \(3,\), got \(2,\)"):
        GaussianError([1.0, 1.0], 3)


def test_that_present_drops_the_missing_values_with_their_operator_and_error():
    operator = Elementwise(Sites(6, [4, 0, 2]), "abs")
    obs = Observation(1.5, np.array([1.0, np.nan, 3.0]), operator, GaussianError([0.1, 0.2, 0.3], 3))
    present = obs.present()
    np.testing.assert_array_equal(present.values, [1.0, 3.0])
    np.testing.assert_array_equal(present.operator(-np.arange(6.0)), [4.0, 2.0])
    np.testing.assert_array_equal(present.error.variance, [0.1, 0.3])
    assert present.time == 1.5


def test_that_a_full_or_an_empty_observation_is_left_as_it_is():
    full = Observation(0.0, np.zeros(3), Identity(3), GaussianError(1.0, 3))
    empty = Observation(0.0, np.full(3, np.nan), Identity(3), GaussianError(1.0, 3))
    assert full.present() is full and not full.is_empty
    assert empty.present() is empty and empty.is_empty


@pytest.mark.parametrize(("values", "variances"), [(2, 3), (3, 2)])
def test_that_sizes_must_agree(values, variances):
    with pytest.raises(ValueError, match="the operator has 3 outputs"):
        Observation(0.0, np.zeros(values), Identity(3), GaussianError(1.0, variances))


def test_that_a_network_checks_its_parts():
    with pytest.raises(ValueError, match="3 outputs, the error model 2"):
        Network(Identity(3), GaussianError(1.0, 2), 0.1)
    with pytest.raises(ValueError, match="`interval` must be positive"):
        Network(Identity(3), GaussianError(1.0, 3), 0.0)
