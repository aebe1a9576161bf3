"""What every model promises: the order of its scheme, its derivatives, the same map in torch, and a spec."""

import re

import numpy as np
import pytest
import torch

from scoreda.models import (
    SCHEMES,
    AdditiveError,
    KuramotoSivashinsky,
    Lorenz05,
    Lorenz63,
    Lorenz96,
    Model,
    TruncatedLorenz96,
    TwoScaleLorenz96,
    WithModelError,
    from_spec,
)

MODELS = {
    "lorenz63": Lorenz63(rayleigh=27.0),
    "lorenz96": Lorenz96(11, dt=0.02),
    "two scales": TwoScaleLorenz96(5, 3, dt=0.004),
    "truncated": TruncatedLorenz96(6, forcing=14.0, dt=0.02),
    "lorenz05, even width": Lorenz05(48, width=4, split=3),
    "lorenz05, odd width": Lorenz05(30, width=3, split=2, coupling=1.5),
    "kuramoto sivashinsky": KuramotoSivashinsky(24, length=20.0),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
runge_kutta = pytest.mark.parametrize("name", [name for name in MODELS if name != "kuramoto sivashinsky"])


def test_that_every_capability_on_offer_is_described_where_models_are():
    offered = set().union(
        *(model.offers for model in MODELS.values()), WithModelError(Lorenz63(), AdditiveError(1.0)).offers
    )
    assert offered == set(re.findall(r'`"(\w+)"`', Model.__doc__))


def states(model, members=3):
    """States that have left their rough start behind."""
    rng = np.random.default_rng(0)
    return model.step(model.random_states(members, rng), round(5 / model.dt))


@every_model
@pytest.mark.parametrize("steps", [1, 3])
def test_that_the_tangent_equals_central_differences(model, steps):
    x, dX = states(model, 1)[0], np.random.default_rng(1).normal(size=(2, model.size))
    x_end, dX_end = model.tangent(x, dX, steps)
    differences = (model.step(x + 1e-5 * dX, steps) - model.step(x - 1e-5 * dX, steps)) / 2e-5
    np.testing.assert_allclose(dX_end, differences, atol=1e-7)
    np.testing.assert_allclose(x_end, model.step(x[None], steps)[0], rtol=0, atol=1e-12)


@every_model
@pytest.mark.parametrize("steps", [1, 4])
def test_that_the_adjoint_is_the_transpose_of_the_tangent(model, steps):
    rng = np.random.default_rng(2)
    x, dX, dY = states(model, 1)[0], rng.normal(size=(4, model.size)), rng.normal(size=(5, model.size))
    through_tangent, through_adjoint = dY @ model.tangent(x, dX, steps)[1].T, model.adjoint(x, dY, steps) @ dX.T
    np.testing.assert_allclose(through_tangent, through_adjoint, rtol=1e-10, atol=1e-10)


@every_model
def test_that_the_torch_version_is_the_same_map_and_differentiable(model):
    E, dY = states(model), np.random.default_rng(3).normal(size=(1, model.size))
    leaf = torch.tensor(E, requires_grad=True)
    end = model.torch_step(leaf, 3)
    np.testing.assert_allclose(end.detach().numpy(), model.step(E, 3), rtol=0, atol=1e-11)
    end[1].backward(torch.from_numpy(dY[0]))
    np.testing.assert_allclose(leaf.grad[1].numpy(), model.adjoint(E[1], dY, 3)[0], rtol=1e-9, atol=1e-9)


@every_model
def test_that_a_step_leaves_its_input_alone_and_members_do_not_mix(model):
    E = states(model, 5)
    before = E.copy()
    assert model.step(E, 0) is not E
    np.testing.assert_array_equal(model.step(E, 4)[[3]], model.step(E[[3]], 4))
    np.testing.assert_array_equal(model.step(model.step(E, 1), 3), model.step(E, 4))
    np.testing.assert_array_equal(E, before)


@every_model
def test_that_the_spec_rebuilds_the_model(model):
    E = states(model)
    np.testing.assert_array_equal(from_spec(model.spec()).step(E), model.step(E))


@runge_kutta
@pytest.mark.parametrize("scheme", SCHEMES)
def test_that_the_error_falls_with_the_order_of_the_scheme(name, scheme):
    settings = MODELS[name].spec() | {"scheme": scheme}
    start, end = states(MODELS[name], 4), 0.04
    steps = np.array([10, 20, 40]) * (1 if scheme == "rk4" else 10)
    reference = from_spec(settings | {"dt": end / 800, "scheme": "rk4"}).step(start, 800)
    errors = [np.abs(from_spec(settings | {"dt": end / n}).step(start, n) - reference).mean() for n in steps]
    slope = np.polyfit(np.log(end / steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(SCHEMES[scheme].order, abs=0.15)


@every_model
def test_that_a_state_of_another_size_is_refused(model):
    with pytest.raises(ValueError, match=rf"\(members, {model.size}\)"):
        model.step(np.zeros((3, model.size + 1)))


@pytest.mark.parametrize("name", MODELS)
def test_that_a_time_step_must_be_positive(name):
    with pytest.raises(ValueError, match="`dt`"):
        from_spec(MODELS[name].spec() | {"dt": 0.0})
