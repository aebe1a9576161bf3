"""A wrapped callable: the same results as the model it wraps, and clear refusals where it offers less."""

import numpy as np
import pytest
import torch

from scoreda.models import Lorenz96, UserModel, require

A = np.array([[0.9, 0.2, 0.0], [0.0, 0.8, 0.1], [0.3, 0.0, 0.7]])


def linear_model():
    """x -> A x with its derivatives; A is not symmetric."""
    return UserModel(
        lambda E: E @ A.T,
        size=3,
        tangent=lambda x, dX: (A @ x, dX @ A.T),
        adjoint=lambda x, dY: dY @ A,
        torch_function=lambda x: x @ torch.from_numpy(A).T,
    )


def test_that_wrapping_a_model_changes_nothing():
    inner = Lorenz96(8)
    wrapped = UserModel(inner.step, 8, inner.dt, adjoint=inner.adjoint, tangent=inner.tangent)
    rng = np.random.default_rng(0)
    E, dX = inner.step(inner.random_states(3, rng), 100), rng.normal(size=(2, 8))
    np.testing.assert_array_equal(wrapped.step(E, 4), inner.step(E, 4))
    np.testing.assert_allclose(wrapped.tangent(E[0], dX, 4)[1], inner.tangent(E[0], dX, 4)[1], rtol=1e-12)
    np.testing.assert_allclose(wrapped.adjoint(E[0], dX, 4), inner.adjoint(E[0], dX, 4), rtol=1e-12)


def test_that_steps_of_a_linear_model_are_powers_of_its_matrix():
    model, rng = linear_model(), np.random.default_rng(1)
    E, power = rng.normal(size=(4, 3)), np.linalg.matrix_power(A, 3)
    np.testing.assert_allclose(model.step(E, 3), E @ power.T)
    np.testing.assert_allclose(model.tangent(E[0], E, 3)[1], E @ power.T)
    np.testing.assert_allclose(model.adjoint(E[0], E, 3), E @ power)
    np.testing.assert_allclose(model.torch_step(torch.from_numpy(E), 3).numpy(), E @ power.T)


def test_that_it_offers_what_was_given():
    assert linear_model().offers == {"tangent", "adjoint", "torch"}
    assert UserModel(lambda E: E, 3).offers == frozenset()


def test_that_a_method_names_what_is_missing_and_what_would_do():
    with pytest.raises(ValueError, match="Score4D needs a model that offers 'adjoint'; user offers: none.*LETKF"):
        require(UserModel(lambda E: E, 3), "adjoint", method="Score4D")
    with pytest.raises(ValueError, match="offers: none. Pass `torch_function=` to a UserModel, or use one of"):
        require(UserModel(lambda E: E, 3), "torch", method="Score4D")


def test_that_a_callable_must_keep_the_shape():
    with pytest.raises(ValueError, match=r"returned shape \(4, 2\) for \(4, 3\)"):
        UserModel(lambda E: E[:, :2], 3).step(np.zeros((4, 3)))


def test_that_a_callable_may_write_into_its_argument():
    def decay(E):
        E *= 0.5
        return E

    E = np.ones((2, 3))
    np.testing.assert_array_equal(UserModel(decay, 3).step(E, 2), 0.25 * E)
    np.testing.assert_array_equal(E, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("f", 3), "must be callable"), ((abs, 0), "`size` and `dt` must be positive"), ((abs, 3, -1.0), "positive")],
)
def test_that_senseless_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        UserModel(*arguments)


def test_that_a_climate_needs_random_states():
    with pytest.raises(ValueError, match="Pass random_states= to UserModel"):
        linear_model().random_states(5, np.random.default_rng(0))


def test_that_a_model_of_the_user_has_no_spec():
    assert linear_model().spec() is None
