"""Operators: NumPy and torch alike, derivatives against finite differences, restriction against indexing."""

import pickle

import numpy as np
import pytest
import torch

from scoreda.observations import (
    FUNCTIONS,
    Elementwise,
    EveryNth,
    Identity,
    Interpolated,
    Linear,
    MovingSites,
    NeighbourProducts,
    RandomSites,
    Sites,
    UserOperator,
    operator_at,
    operator_from_spec,
)

SIZE = 7
WEIGHTS = np.random.default_rng(10).normal(size=(3, SIZE))


def quadratic(E):
    """A callable that works on NumPy arrays and torch tensors."""
    return E[..., [0, 2, 5]] ** 2 * E[..., [1, 1, 6]]


OPERATORS = {
    "identity": Identity(SIZE),
    "every second": EveryNth(SIZE, 2),
    "unordered sites": Sites(SIZE, [5, 0, 3]),
    "random sites": RandomSites(SIZE, 4, seed=1),
    **{function: Elementwise(Sites(SIZE, [4, 1, 6]), function) for function in FUNCTIONS},
    "matrix": Linear(WEIGHTS, locations=[0.5, 2.0, 6.0]),
    "interpolated on a ring": Interpolated(SIZE, [6.3, 0.0, 2.75]),
    "interpolated on a line": Interpolated(SIZE, [6.0, 0.5], periodic=False),
    "neighbours": NeighbourProducts(SIZE),
    "distant neighbours": NeighbourProducts(SIZE, [6, 2, 3], lag=2),
    "square of an interpolation": Elementwise(Interpolated(SIZE, [1.5, 4.25]), "square"),
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
    seen = {function: Elementwise(Identity(3), function)(x) for function in FUNCTIONS}
    np.testing.assert_array_equal(seen["abs"], [2.0, 0.0, 3.0])
    np.testing.assert_allclose(np.tan(seen["arctan"]), x, rtol=1e-14)
    np.testing.assert_array_equal(seen["square"], [4.0, 0.0, 9.0])
    np.testing.assert_array_equal(seen["cube"], [-8.0, 0.0, 27.0])
    np.testing.assert_allclose(np.log(seen["exp"]), x, atol=1e-14)
    np.testing.assert_allclose(np.exp(seen["log_abs"]), [2.01, 0.01, 3.01], rtol=1e-14)


def test_that_interpolation_is_exact_for_straight_lines_and_closes_the_ring():
    line = 3.0 - 2.0 * np.arange(8.0)
    positions = [0.0, 2.5, 6.9, 7.0]
    seen = Interpolated(8, positions, periodic=False)(line)
    np.testing.assert_allclose(seen, 3 - 2 * np.array(positions), rtol=1e-14)
    np.testing.assert_allclose(Interpolated(8, [7.25])(line), 0.75 * line[7] + 0.25 * line[0])


def test_that_a_matrix_of_unit_rows_selects_sites():
    E = ensemble()
    np.testing.assert_array_equal(Linear(np.eye(SIZE)[[5, 0, 3]])(E), Sites(SIZE, [5, 0, 3])(E))


def test_that_products_are_those_of_neighbours_on_the_ring():
    x = np.array([2.0, 3.0, 5.0, 7.0])
    np.testing.assert_array_equal(NeighbourProducts(4)(x), [6.0, 15.0, 35.0, 14.0])
    np.testing.assert_array_equal(NeighbourProducts(4, [3, 0], lag=2)(x), [21.0, 10.0])
    np.testing.assert_array_equal(NeighbourProducts(4, [1, 3], lag=1).locations, [1.5, 3.5])


def test_that_random_sites_are_different_variables_drawn_from_the_seed():
    sites = RandomSites(40, 10, seed=3).sites
    assert (np.diff(sites) > 0).all() and len(sites) == 10
    np.testing.assert_array_equal(sites, RandomSites(40, 10, seed=3).sites)
    assert (sites != RandomSites(40, 10, seed=4).sites).any()


def test_that_moving_sites_depend_on_seed_and_time_alone_and_visit_every_variable():
    moving = MovingSites(12, 3, seed=5, function="abs")
    drawn = [moving.at(0.05 * k).selection.sites for k in range(2000)]
    np.testing.assert_allclose(np.bincount(np.concatenate(drawn)) / 6000, 1 / 12, atol=0.01)
    again = operator_from_spec(moving.spec())
    np.testing.assert_array_equal(operator_at(again, 0.1 + 0.2).selection.sites, moving.at(0.3).selection.sites)
    assert (MovingSites(12, 3, seed=6).at(0.3).sites != moving.at(0.3).selection.sites).any()
    assert again.at(1.0).function == "abs"


def test_that_an_operator_that_stays_is_its_own_at_every_time():
    assert operator_at(OPERATORS["identity"], 3.0) is OPERATORS["identity"]


def test_that_a_function_of_a_user_operator_has_no_spec():
    assert Elementwise(UserOperator(quadratic, SIZE, 3), "exp").spec() is None


def test_that_the_locations_of_a_user_operator_follow_a_restriction():
    operator = UserOperator(quadratic, SIZE, 3, locations=[1.0, 2.0, 5.5])
    np.testing.assert_array_equal(operator.restrict(np.array([2, 1])).locations, [5.5, 2.0])
    assert operator.spec() is None


@rebuildable
def test_that_an_operator_may_be_sent_to_another_process(name):
    again = pickle.loads(pickle.dumps(OPERATORS[name]))
    np.testing.assert_array_equal(again(ensemble()), OPERATORS[name](ensemble()))


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
        (lambda: RandomSites(40, 41, 0), "`number` must be 1 to 40"),
        (lambda: MovingSites(40, 0, 0), "`number` must be 1 to 40"),
        (lambda: MovingSites(40, 4, 0, "cubed"), "did you mean 'cube'"),
        (lambda: Linear(np.ones(3)), r"of shape \(Ny, Nx\), got shape \(3,\)"),
        (lambda: Linear(np.eye(2), locations=[1.0]), r"must have shape \(2,\)"),
        (lambda: Interpolated(8, [8.0]), r"position 8 is outside \[0, 8\)"),
        (lambda: Interpolated(8, [7.5], periodic=False), r"position 7.5 is outside \[0, 7\]"),
        (lambda: Interpolated(8, []), "no position is observed"),
        (lambda: NeighbourProducts(8, lag=8), "`lag` must be 1 to 7"),
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
