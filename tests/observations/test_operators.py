"""Operators: NumPy and torch alike, derivatives against finite differences, restriction against indexing."""

import numpy as np
import pytest
import torch

from scoreda.observations import Elementwise, EveryNth, Identity, Sites, UserOperator, operator_from_spec

SIZE = 7
WEIGHTS = np.random.default_rng(10).normal(size=(3, SIZE))


def quadratic(E):
    """A callable that works on NumPy arrays and torch tensors."""
    return E[..., [0, 2, 5]] ** 2 * E[..., [1, 1, 6]]


OPERATORS = {
    "identity": Identity(SIZE),
    "every second": EveryNth(SIZE, 2),
    "unordered sites": Sites(SIZE, [5, 0, 3]),
    "arctan": Elementwise(Sites(SIZE, [4, 1, 6]), "arctan"),
    "abs": Elementwise(EveryNth(SIZE, 3, start=1), "abs"),
    "user, by autograd": UserOperator(quadratic, SIZE, 3),
    "user, with a derivative": UserOperator(lambda E: E @ WEIGHTS.T, SIZE, 3, tangent=lambda x, dX: dX @ WEIGHTS.T),
}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
rebuildable = pytest.mark.parametrize("name", [name for name in OPERATORS if not name.startswith("user")])


def ensemble(members=4):
    return np.random.default_rng(11).normal(size=(members, SIZE))


@every_operator
def test_that_the_derivative_equals_central_differences(operator):
    x, dX = ensemble(1)[0], ensemble(3)
    differences = (operator(x + 1e-6 * dX) - operator(x - 1e-6 * dX)) / 2e-6
    np.testing.assert_allclose(operator.tangent(x, dX), differences, atol=1e-8)


@every_operator
def test_that_the_state_is_on_the_last_axis_whatever_the_others(operator):
    E = ensemble(6)
    assert operator(E).shape == (6, operator.size)
    np.testing.assert_array_equal(operator(E.reshape(2, 3, SIZE)), operator(E).reshape(2, 3, -1))
    np.testing.assert_allclose(operator(E[0]), operator(E)[0], rtol=1e-14)


@every_operator
def test_that_restricting_selects_outputs_and_their_derivatives(operator):
    keep, E = np.array([1, 0]), ensemble()
    part = operator.restrict(keep)
    assert part.size == 2
    np.testing.assert_array_equal(part(E), operator(E)[:, keep])
    np.testing.assert_allclose(part.tangent(E[0], E), operator.tangent(E[0], E)[:, keep])


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "user, with a derivative"])
def test_that_torch_gives_what_numpy_gives(name):
    E = ensemble()
    np.testing.assert_allclose(OPERATORS[name](torch.from_numpy(E)).numpy(), OPERATORS[name](E), rtol=1e-15)


@rebuildable
def test_that_the_spec_rebuilds_the_operator(name):
    again = operator_from_spec(OPERATORS[name].spec())
    np.testing.assert_array_equal(again(ensemble()), OPERATORS[name](ensemble()))
    np.testing.assert_array_equal(again.locations, OPERATORS[name].locations)


def test_that_sites_are_seen_in_the_order_given():
    np.testing.assert_array_equal(Sites(5, [3, 0])(np.arange(5.0)), [3.0, 0.0])
    np.testing.assert_array_equal(EveryNth(5, 2, start=1).locations, [1.0, 3.0])


def test_that_elementwise_functions_are_what_they_are_called():
    x = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(Elementwise(Identity(3), "abs")(x), [2.0, 0.0, 3.0])
    np.testing.assert_allclose(np.tan(Elementwise(Identity(3), "arctan")(x)), x, rtol=1e-14)


def test_that_the_locations_of_a_user_operator_follow_a_restriction():
    operator = UserOperator(quadratic, SIZE, 3, locations=[1.0, 2.0, 5.5])
    np.testing.assert_array_equal(operator.restrict(np.array([2, 1])).locations, [5.5, 2.0])
    assert operator.spec() is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sites(40, [0, 40]), "site 40 is out of range: the state has 40 variables, 0 to 39"),
        (lambda: Sites(40, [-1]), "site -1 is out of range"),
        (lambda: Sites(40, []), "no site is observed"),
        (lambda: EveryNth(40, 0), "`step` must be at least 1"),
        (lambda: Elementwise(Identity(4), "arctang"), "did you mean 'arctan'"),
        (lambda: UserOperator(abs, 4, 4, locations=[0.0]), r"must have shape \(4,\)"),
        (lambda: operator_from_spec({"name": "site"}), "did you mean 'sites'"),
    ],
)
def test_that_a_bad_operator_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_that_a_wrong_number_of_outputs_is_noticed():
    with pytest.raises(ValueError, match="returned 7 values, but size=3"):
        UserOperator(lambda E: E, SIZE, 3)(ensemble())


def test_that_an_operator_without_a_derivative_says_so():
    with pytest.raises(ValueError, match="Pass tangent="):
        UserOperator(lambda E: np.sort(E), SIZE, SIZE).tangent(ensemble(1)[0], ensemble())
