"""Error models: their variances, their densities against SciPy's, and specs that rebuild them."""

import numpy as np
import pytest
import torch
from scipy import stats

from scoreda.observations import (
    CorrelatedGaussianError,
    GaussianError,
    LaplaceError,
    StudentTError,
    error_from_spec,
)

VARIANCE = np.array([0.25, 4.0, 1.0])
R = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, -0.4], [0.0, -0.4, 0.3]])
STD = np.sqrt(VARIANCE)

ERRORS = {
    "gaussian": GaussianError(VARIANCE, 3),
    "laplace": LaplaceError(VARIANCE, 3),
    "student": StudentTError(VARIANCE, 3, df=5.0),
    "correlated": CorrelatedGaussianError(R),
}
REFERENCES = {
    "gaussian": stats.norm(scale=STD),
    "laplace": stats.laplace(scale=STD / np.sqrt(2)),
    "student": stats.t(5.0, scale=STD * np.sqrt(3 / 5)),
}
every_error = pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)


def residuals(rows=6):
    return np.random.default_rng(0).normal(size=(rows, 3)) * 2 * STD


@every_error
def test_that_samples_have_the_covariance_asked_for(error):
    rng = np.random.default_rng(1)
    sample = np.stack([error.sample(rng) for _ in range(40_000)])
    np.testing.assert_allclose(
        np.cov(sample.T) / np.outer(error.std, error.std), error.covariance / np.outer(error.std, error.std), atol=0.05
    )
    np.testing.assert_allclose(sample.mean(axis=0) / error.std, 0.0, atol=0.025)
    np.testing.assert_array_equal(error.covariance.diagonal(), error.variance)


@pytest.mark.parametrize("name", REFERENCES)
def test_that_independent_errors_are_distributed_as_they_are_called(name):
    rng, error = np.random.default_rng(2), ERRORS[name]
    sample = np.stack([error.sample(rng) for _ in range(4000)])
    uniform = REFERENCES[name].cdf(sample)
    assert min(stats.kstest(column, "uniform").pvalue for column in uniform.T) > 0.01
    np.testing.assert_allclose(error.log_density(residuals()), REFERENCES[name].logpdf(residuals()), rtol=1e-12)
    assert error.independent


def test_that_correlated_errors_have_the_density_of_their_covariance():
    expected = stats.multivariate_normal(cov=R).logpdf(residuals())
    error = ERRORS["correlated"]
    np.testing.assert_allclose(error.log_density(residuals()).sum(-1), expected, rtol=1e-12)
    assert not error.independent


def test_that_a_diagonal_covariance_is_that_of_independent_errors():
    full, diagonal = CorrelatedGaussianError(np.diag(VARIANCE)), ERRORS["gaussian"]
    np.testing.assert_allclose(full.log_density(residuals()), diagonal.log_density(residuals()), rtol=1e-12)
    draw = np.random.default_rng
    np.testing.assert_allclose(full.sample(draw(3)), diagonal.sample(draw(3)), rtol=1e-15)


@every_error
def test_that_the_slope_is_the_derivative_of_the_log_density_in_torch_too(error):
    d = torch.tensor(residuals(), requires_grad=True)
    error.log_density(d).sum().backward()
    np.testing.assert_allclose(d.grad.numpy(), error.log_density_slope(residuals()), rtol=1e-10)
    np.testing.assert_allclose(error.log_density_slope(d.detach()).numpy(), d.grad.numpy(), rtol=1e-10)
    np.testing.assert_allclose(error.log_density(d).detach().numpy(), error.log_density(residuals()), rtol=1e-13)


@every_error
def test_that_restricting_keeps_the_marginal_distribution(error):
    keep = np.array([2, 0])
    part = error.restrict(keep)
    np.testing.assert_allclose(part.covariance, error.covariance[np.ix_(keep, keep)], rtol=1e-15)
    assert (part.size, part.name) == (2, error.name)
    if error.independent:
        np.testing.assert_array_equal(part.log_density(residuals()[:, keep]), error.log_density(residuals())[:, keep])


@every_error
def test_that_the_spec_rebuilds_the_errors(error):
    again = error_from_spec(error.spec())
    np.testing.assert_array_equal(again.log_density(residuals()), error.log_density(residuals()))


def test_that_a_scalar_variance_holds_for_every_observation():
    np.testing.assert_array_equal(GaussianError(0.3, 4).variance, np.full(4, 0.3))


@pytest.mark.parametrize("variance", [0.0, -1.0, np.nan, np.inf, [1.0, 0.0, 1.0]])
def test_that_a_variance_must_be_positive(variance):
    with pytest.raises(ValueError, match="must be positive and finite"):
        GaussianError(variance, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianError([1.0, 1.0], 3), r"scalar or have shape \(3,\), got \(2,\)"),
        (lambda: StudentTError(1.0, 3, df=2.0), "`df` must be above 2"),
        (lambda: CorrelatedGaussianError(R - np.eye(3)), "not positive definite"),
        (lambda: CorrelatedGaussianError([1.0, 2.0]), "square and symmetric"),
        (lambda: error_from_spec({"name": "student"}), "did you mean 'student_t'"),
    ],
)
def test_that_senseless_errors_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
