"""Observations with gaps and correlated errors, against the same observations with the gaps left out."""

import numpy as np
import pytest
import torch

from scoreda.diffusion import EDM, GaussianDenoiser
from scoreda.diffusion.guidance import FI6, Observed
from scoreda.observations import Elementwise, EveryNth, Identity

F64 = torch.float64
Y = torch.tensor([0.5, torch.nan, -1.0, 2.0], dtype=F64)
KEEP = torch.tensor([0, 2, 3])
FULL = torch.tensor([[2.0, 0.5, 0.3, 0.1], [0.5, 1.0, 0.4, 0.2], [0.3, 0.4, 1.5, 0.6], [0.1, 0.2, 0.6, 1.2]], dtype=F64)


def identity(x):
    return x[:, 0]


def states(number=3):
    return torch.randn(number, 1, 4, generator=torch.Generator().manual_seed(0), dtype=F64)


def test_that_the_present_values_are_solved_with_their_own_part_of_a_full_covariance():
    observed, x = Observed(Y, identity, FULL), states()
    residual = observed.residual(observed.predict(x))
    expected = torch.linalg.solve(FULL[KEEP][:, KEEP], (Y - x[:, 0])[:, KEEP].T).T
    torch.testing.assert_close(observed.solve(residual)[:, KEEP], expected)
    assert (observed.solve(residual)[:, 1] == 0).all()


def test_that_members_with_gaps_of_their_own_have_covariances_of_their_own():
    y = Y.repeat(3, 1)
    y[1, 2], y[2] = torch.nan, torch.tensor([1.0, 2.0, 3.0, 4.0])
    together, x = Observed(y, identity, FULL), states()
    solved = together.solve(together.residual(together.predict(x)), torch.tensor([[0.1], [0.2], [0.3]], dtype=F64))
    for k in range(3):
        here = torch.nonzero(~y[k].isnan()).flatten()
        C = FULL[here][:, here] + 0.1 * (k + 1) * torch.eye(len(here), dtype=F64)
        torch.testing.assert_close(solved[k, here], torch.linalg.solve(C, (y[k] - x[k, 0])[here]))


@pytest.mark.parametrize("R", [0.4, FULL.diagonal(), FULL], ids=["scalar", "variances", "full"])
def test_that_multiplying_undoes_solving(R):
    observed, r = Observed(Y, identity, R), torch.tensor([[1.0, 0.0, 2.0, -1.0]], dtype=F64)
    torch.testing.assert_close(observed.multiply(observed.solve(r)), r)


def test_that_what_is_added_goes_to_the_diagonal():
    added = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=F64)
    torch.testing.assert_close(Observed(Y, identity, 0.5).covariance(added)[0, KEEP], 0.5 + added[0, KEEP])
    expected = FULL[KEEP][:, KEEP] + torch.diag(added[0, KEEP])
    torch.testing.assert_close(Observed(Y, identity, FULL).covariance(added)[0][KEEP][:, KEEP], expected)


def test_that_a_value_nobody_could_predict_does_no_harm_where_it_is_missing():
    observed = Observed(Y, lambda x: x[:, 0] / torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=F64), FULL)
    assert observed.residual(observed.predict(states())).isfinite().all()


@pytest.mark.parametrize(
    "operator, expected",
    [
        (Identity(8), lambda x: x),
        (EveryNth(8, 2), lambda x: x[..., ::2]),
        (Elementwise(EveryNth(8, 2, 1), "arctan"), lambda x: torch.arctan(x[..., 1::2])),
    ],
    ids=["identity", "every second", "arctan"],
)
def test_that_operators_of_the_package_observe_fields_of_one_channel(operator, expected):
    x = torch.randn(3, 1, 8, generator=torch.Generator().manual_seed(0), dtype=F64)
    observed = Observed(torch.ones(operator.size, dtype=F64), operator, 0.1)
    torch.testing.assert_close(observed.predict(x), expected(x)[:, 0])


NUMPY_ONLY = {
    "a NumPy function": lambda x: np.arctan(x)[:, 0],
    "a NumPy array inside": lambda x: torch.as_tensor(np.arctan(x.detach().numpy()))[:, 0],
    "a NumPy array returned": lambda x: np.ones((len(x), 4)),
    "a list returned": lambda x: [0.0] * 4,
}


@pytest.mark.parametrize("operator", NUMPY_ONLY)
def test_that_an_operator_of_numpy_alone_is_refused_with_those_that_do(operator):
    prior = GaussianDenoiser(torch.zeros(4, dtype=F64), torch.eye(4, dtype=F64), EDM())
    with pytest.raises(ValueError, match="torch functions, or take Sites, EveryNth, Identity or Elementwise"):
        FI6(prior, Y, NUMPY_ONLY[operator], 0.1)(states(), 0.5)


@pytest.mark.parametrize("operator", [lambda x: x[:, 0, :1], lambda x: x[:, 0, 0], lambda x: x[:1, 0], lambda x: x])
def test_that_an_operator_of_another_shape_is_refused_instead_of_broadcast(operator):
    with pytest.raises(ValueError, match=r"`H` must return shape \(3, 4\), got"):
        Observed(Y, operator, 0.1).predict(states().repeat(1, 2, 1))


BAD = {
    "negative": (Y, -1.0, "positive"),
    "zero": (Y, 0.0, "positive"),
    "one zero": (Y, torch.tensor([1.0, 0.0, 1.0, 1.0]), "positive"),
    "not a number": (Y, float("nan"), "positive"),
    "infinite": (Y, float("inf"), "finite"),
    "indefinite": (Y, FULL - 2 * torch.eye(4, dtype=F64), "positive"),
    "not symmetric": (Y, torch.eye(4, dtype=F64) + torch.diag(torch.ones(3, dtype=F64), 1) / 2, "symmetric"),
    "of other size": (Y, torch.ones(3), r"variances \(4,\)"),
    "three-dimensional": (Y, torch.ones(4, 4, 4), r"got shape \(4, 4, 4\)"),
    "integer y": (torch.tensor([1, 2, 3, 4]), 1.0, "floating-point"),
    "NumPy y": (Y.numpy(), 1.0, "floating-point"),
    "y as a field": (Y[None, None], 1.0, r"flatten\(\)"),
    "infinite y": (Y / 0, 1.0, "NaN"),
}


@pytest.mark.parametrize("case", BAD)
def test_that_observations_without_meaning_are_refused(case):
    y, R, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        Observed(y, identity, R)
