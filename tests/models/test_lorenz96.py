"""Lorenz96 against an index-by-index loop, its own rates of convergence, and its published climate."""

import numpy as np
import pytest
import torch

from scoreda.datasets import climatology
from scoreda.models import SCHEMES, Lorenz96, from_spec, require


def states(model, members=3, seed=0):
    """States near the attractor."""
    rng = np.random.default_rng(seed)
    return model.step(model.random_states(members, rng), 200)


def tendency_by_index(x, forcing):
    """Lorenz (1996), equation as printed, one index at a time."""
    n = len(x)
    return [(x[(i + 1) % n] - x[(i - 2) % n]) * x[(i - 1) % n] - x[i] + forcing for i in range(n)]


@pytest.mark.parametrize("size", [4, 5, 40])
def test_that_the_tendency_equals_the_printed_equation_index_by_index(size):
    model = Lorenz96(size, forcing=7.5)
    E = np.random.default_rng(1).normal(2.0, 3.0, (3, size))
    expected = [tendency_by_index(x.tolist(), 7.5) for x in E]
    np.testing.assert_allclose(model.tendency(E), expected, atol=1e-12)


def test_that_a_mirrored_state_has_another_tendency():
    E = states(Lorenz96(), 1)
    assert np.abs(Lorenz96().tendency(E[:, ::-1])[:, ::-1] - Lorenz96().tendency(E)).max() > 1.0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_that_the_error_falls_with_the_order_of_the_scheme(scheme):
    start = states(Lorenz96(), 4)
    reference = Lorenz96(dt=0.0005).step(start, 400)
    steps = np.array([10, 20, 40, 80]) * (1 if scheme == "rk4" else 10)
    errors = [np.abs(Lorenz96(dt=0.2 / n, scheme=scheme).step(start, n) - reference).mean() for n in steps]
    slope = np.polyfit(np.log(0.2 / steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(SCHEMES[scheme].order, abs=0.1)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_that_the_tangent_equals_central_differences(scheme, steps):
    model = Lorenz96(12, dt=0.02, scheme=scheme)
    x, dX = states(model, 1)[0], np.random.default_rng(2).normal(size=(3, 12))
    x_end, dX_end = model.tangent(x, dX, steps)
    differences = (model.step(x + 1e-5 * dX, steps) - model.step(x - 1e-5 * dX, steps)) / 2e-5
    np.testing.assert_allclose(dX_end, differences, atol=1e-7)
    np.testing.assert_allclose(x_end, model.step(x[None], steps)[0], atol=1e-13)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_that_the_adjoint_is_the_transpose_of_the_tangent(scheme, steps):
    model, rng = Lorenz96(9, scheme=scheme), np.random.default_rng(3)
    x, dX, dY = states(model, 1)[0], rng.normal(size=(4, 9)), rng.normal(size=(5, 9))
    np.testing.assert_allclose(
        dY @ model.tangent(x, dX, steps)[1].T, model.adjoint(x, dY, steps) @ dX.T, rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_that_the_torch_version_agrees_with_the_kernel(scheme):
    model = Lorenz96(10, scheme=scheme)
    E = states(model)
    np.testing.assert_allclose(model.torch_step(torch.from_numpy(E), 5).numpy(), model.step(E, 5), rtol=0, atol=1e-12)


def test_that_autograd_through_the_torch_version_is_the_adjoint():
    model, rng = Lorenz96(8), np.random.default_rng(4)
    x, dY = states(model, 1)[0], rng.normal(size=(1, 8))
    leaf = torch.tensor(x, requires_grad=True)
    model.torch_step(leaf, 3).backward(torch.from_numpy(dY[0]))
    np.testing.assert_allclose(leaf.grad.numpy(), model.adjoint(x, dY, 3)[0], rtol=1e-11)


def test_that_a_member_does_not_depend_on_the_others():
    E = states(Lorenz96(), 20)
    np.testing.assert_array_equal(Lorenz96().step(E, 30)[[7]], Lorenz96().step(E[[7]], 30))


def test_that_a_step_leaves_its_input_alone():
    E = states(Lorenz96())
    before = E.copy()
    assert Lorenz96().step(E, 0) is not E
    Lorenz96().step(E, 3)
    np.testing.assert_array_equal(E, before)


def test_that_the_climate_has_the_published_mean_and_spread():
    climate = climatology(Lorenz96(), np.random.default_rng(5))
    assert climate.states.mean() == pytest.approx(2.34, rel=0.01)
    assert climate.states.std() == pytest.approx(3.64, rel=0.01)


def test_that_forward_euler_has_a_climate_and_an_error_of_its_own():
    euler, rng = Lorenz96(dt=0.005, scheme="euler"), np.random.default_rng(5)
    climate = climatology(euler, rng)
    assert climate.states.mean() == pytest.approx(2.30, rel=0.01)
    assert climate.states.std() == pytest.approx(3.76, rel=0.01)
    E = climatology(Lorenz96(), rng).states
    error = euler.step(E, 40) - Lorenz96(dt=0.005).step(E, 40)  # after .2 time units
    assert np.sqrt((error**2).mean()) == pytest.approx(0.081, rel=0.05)


def test_that_the_spec_rebuilds_the_model():
    model = Lorenz96(12, forcing=6.0, dt=0.01, scheme="midpoint")
    np.testing.assert_array_equal(from_spec(model.spec()).step(states(model)), model.step(states(model)))


def test_that_it_offers_everything():
    for capability in ("tangent", "adjoint", "torch"):
        require(Lorenz96(), capability, method="any")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 3}, "`size` must be at least 4, got 3"),
        ({"forcing": float("nan")}, "`forcing` must be finite"),
        ({"dt": 0.0}, "`dt` must be positive"),
        ({"scheme": "rk5"}, "did you mean 'rk4'"),
    ],
)
def test_that_senseless_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Lorenz96(**settings)


def test_that_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'lorenz96'"):
        from_spec({"name": "lorenz69"})


def test_that_a_state_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(members, 40\), got \(3, 39\)"):
        Lorenz96().step(np.zeros((3, 39)))
