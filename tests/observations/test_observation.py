"""Observations with gaps, and networks."""

import numpy as np
import pytest

from scoreda.observations import Elementwise, GaussianError, Identity, MovingSites, Network, Observation, Sites


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


def test_that_a_network_knows_its_times():
    regular = Network(Identity(3), GaussianError(1.0, 3), 0.1)
    irregular = Network(Identity(3), GaussianError(1.0, 3), times=[0.1, 0.4, 0.6])
    np.testing.assert_allclose(regular.observation_times(3), [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(irregular.observation_times(2), [0.1, 0.4])
    assert irregular.interval == pytest.approx(0.2)


def test_that_a_network_gives_the_operator_of_each_time():
    moving = Network(MovingSites(20, 3, seed=0), GaussianError(1.0, 3), 0.1)
    still = Network(Identity(3), GaussianError(1.0, 3), 0.1)
    assert (moving.at(0.1).sites != moving.at(0.2).sites).any()
    assert still.at(0.1) is still.operator


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({}, "`interval` must be positive, got nan"),
        ({"interval": 0.1, "times": [0.1]}, "exclude each other"),
        ({"times": [0.0, 0.1]}, "increase from above 0"),
        ({"times": [0.2, 0.1]}, "increase from above 0"),
        ({"times": []}, "increase from above 0"),
    ],
)
def test_that_a_network_needs_one_kind_of_times(when, message):
    with pytest.raises(ValueError, match=message):
        Network(Identity(3), GaussianError(1.0, 3), **when)
