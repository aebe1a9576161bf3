"""Climatologies against NumPy's mean and covariance and a linear model's exact climate."""

import numpy as np
import pytest

from scoreda.datasets import Climatology, climate_states, climatology
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96, UserModel


def test_that_the_moments_are_those_of_the_states():
    states = np.random.default_rng(0).normal(size=(3, 50, 4)) @ np.random.default_rng(1).normal(size=(4, 4))
    flat = states.reshape(150, 4)
    climate = Climatology.of(states.astype(np.float32))
    np.testing.assert_allclose(climate.mean, flat.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(climate.cov, (flat - flat.mean(0)).T @ (flat - flat.mean(0)) / 149, atol=1e-5)
    np.testing.assert_allclose(climate.states, flat, atol=1e-6)


def test_that_one_variable_has_a_covariance_matrix_too():
    assert Climatology.of(np.arange(5.0)[:, None]).cov.shape == (1, 1)


def test_that_as_many_states_come_as_asked():
    climate = climatology(Lorenz96(6), np.random.default_rng(0), samples=25, trajectories=10, spinup=2.0)
    assert climate.states.shape == (25, 6)
    assert len(np.unique(climate.states, axis=0)) == 25


def test_that_states_of_one_trajectory_are_five_time_units_apart():
    model = UserModel(lambda E: E + 1, 1, dt=0.5, random_states=lambda members, rng: np.zeros((members, 1)))
    states = climatology(model, np.random.default_rng(0), samples=4, trajectories=2, spinup=3.0).states
    np.testing.assert_array_equal(states.ravel(), [6.0, 6.0, 16.0, 16.0])


def test_that_too_few_states_are_refused():
    with pytest.raises(ValueError, match="at least 2 states"):
        Climatology.of(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="`samples` >= 2"):
        climatology(Lorenz96(6), np.random.default_rng(0), samples=1)


def test_that_a_blow_up_is_said():
    model = UserModel(lambda E: E * np.inf, 1, random_states=lambda members, rng: np.ones((members, 1)))
    with pytest.raises(ScoredaError, match="the model user, member after spin-up"):
        climate_states(model, 3, np.random.default_rng(0))
