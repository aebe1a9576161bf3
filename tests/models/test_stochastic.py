"""Model errors: their statistics, where their randomness comes from, and specs that rebuild them."""

import numpy as np
import pytest

from scoreda.models import AdditiveError, Lorenz96, Shocks, UserModel, WithModelError, from_spec, require, seeded

STILL = UserModel(lambda E: E, 3, dt=0.04)
Q = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])


def noisy(error, seed=0, model=STILL):
    return WithModelError(model, error, seed)


@pytest.mark.parametrize("variance", [2.0, [2.0, 1.0, 0.5], Q])
def test_that_additive_errors_gain_their_variance_in_one_time_unit(variance):
    expected = np.diag(np.broadcast_to(variance, 3)) if np.ndim(variance) < 2 else variance
    E = noisy(AdditiveError(variance)).step(np.zeros((20_000, 3)), 25)
    np.testing.assert_allclose(np.cov(E.T), expected, atol=0.06)
    np.testing.assert_allclose(E.mean(axis=0), 0.0, atol=0.05)


def test_that_no_error_leaves_the_model_as_it_is():
    model, E = Lorenz96(8), np.random.default_rng(1).normal(size=(3, 8))
    for error in (AdditiveError(0.0), Shocks([0.0], [1.0])):
        np.testing.assert_array_equal(noisy(error, model=model).step(E, 7), model.step(E, 7))


def test_that_shocks_strike_as_often_and_as_hard_as_asked():
    """Kinds that strike together add up, so four sizes occur; the error of each is Gaussian in proportion to |x|."""
    E = np.full((40_000, 3), -2.0)
    shocked = noisy(Shocks([0.3, 0.2], [0.5, 0.1])).step(E)
    assert (shocked == E).all(axis=1).mean() == pytest.approx(0.7 * 0.8, abs=0.01)
    expected = 4 * (0.3 * 0.8 * 0.25 + 0.7 * 0.2 * 0.01 + 0.3 * 0.2 * 0.36)
    np.testing.assert_allclose(((shocked - E) ** 2).mean(axis=0), expected, rtol=0.05)


def test_that_a_shock_reaches_every_variable_of_a_member_by_another_amount():
    shocked = noisy(Shocks([0.5], [0.1])).step(np.ones((200, 3))) - 1
    struck = (shocked != 0).sum(axis=1)
    assert set(struck) == {0, 3}
    assert abs(np.corrcoef(shocked[struck == 3].T)[0, 1]) < 0.3


def test_that_a_seed_gives_the_same_errors_and_a_generator_takes_its_place():
    E, error = np.zeros((4, 3)), AdditiveError(1.0)
    np.testing.assert_array_equal(noisy(error, 5).step(E, 3), noisy(error, 5).step(E, 3))
    assert not np.isclose(noisy(error, 5).step(E), noisy(error, 6).step(E)).any()
    bound = seeded(noisy(error, 5), np.random.default_rng(6))
    np.testing.assert_array_equal(bound.step(E, 3), noisy(error, 6).step(E, 3))


def test_that_an_unbound_model_refuses_to_step_and_a_certain_one_needs_no_generator():
    with pytest.raises(ValueError, match=r"seeded\(model, rng\)"):
        WithModelError(STILL, AdditiveError(1.0)).step(np.zeros((2, 3)))
    assert seeded(STILL, np.random.default_rng(0)) is STILL


@pytest.mark.parametrize("error", [AdditiveError(np.eye(8) + 0.1), AdditiveError(0.2), Shocks()])
def test_that_the_spec_rebuilds_the_model(error):
    model, E = noisy(error, 7, Lorenz96(8)), np.ones((3, 8))
    np.testing.assert_array_equal(from_spec(model.spec()).step(E, 50), model.step(E, 50))


def test_that_a_random_user_model_has_no_spec_and_no_random_model_a_tangent():
    assert noisy(Shocks()).spec() is None
    with pytest.raises(ValueError, match="needs a model that offers 'tangent'"):
        require(noisy(Shocks()), "tangent", "4D-Var")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdditiveError(-1.0), "finite and not negative"),
        (lambda: AdditiveError([[1.0, 2.0], [2.0, 1.0]]), "not positive definite"),
        (lambda: AdditiveError([[1.0, 0.0], [0.5, 1.0]]), "symmetric"),
        (lambda: noisy(AdditiveError([1.0, 1.0])).step(np.zeros((2, 3))), r"shape \(2,\), the state \(3,\)"),
        (lambda: Shocks([0.1], [0.1, 0.2]), "one size per probability"),
        (lambda: Shocks([1.1], [0.1]), r"in \[0, 1\]"),
        (lambda: from_spec(noisy(Shocks(), 0, Lorenz96()).spec() | {"error": {"name": "shock"}}), "mean 'shocks'"),
    ],
)
def test_that_senseless_errors_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
