"""The update by perturbed observations in one kernel, against its plain form."""

import numpy as np
import pytest

from scoreda.assimilation.baselines import StochasticEnKF
from scoreda.assimilation.baselines.stochastic_enkf import FEW, increments
from scoreda.assimilation.baselines.stochastic_kernels import perturbed_update
from scoreda.models import UserModel
from scoreda.observations import CorrelatedGaussianError, GaussianError, Identity, Observation


@pytest.mark.parametrize(("N", "Nx", "Ny"), [(2, 5, 1), (8, 3, 8), (20, 40, 17), (40, 40, 40), (120, 10, 100)])
@pytest.mark.parametrize("spread", [0.01, 1.0, 50.0])
def test_that_the_kernel_equals_the_plain_update(N, Nx, Ny, spread):
    rng = np.random.default_rng(N)
    E, HE, eps = spread * rng.normal(size=(N, Nx)), spread * rng.normal(size=(N, Ny)), rng.normal(size=(N, Ny))
    values, variance = rng.normal(size=Ny), rng.uniform(0.5, 2.0, Ny)
    Y = HE - HE.mean(0)
    D = values + eps - eps.mean(0) - HE
    plain = E + D @ np.linalg.solve(Y.T @ Y + (N - 1) * np.diag(variance), Y.T @ (E - E.mean(0)))
    np.testing.assert_allclose(perturbed_update(E, HE, values, variance, eps), plain, rtol=0, atol=1e-10 * spread)
    shared = increments(E - E.mean(0), Y, GaussianError(variance, Ny), D)
    np.testing.assert_allclose(E + shared, plain, rtol=0, atol=1e-10 * spread)


@pytest.mark.parametrize("Ny", [FEW, FEW + 1])
def test_that_few_and_many_observations_and_full_covariances_are_treated_alike(Ny):
    """A diagonal R, given as a matrix, takes the way of LAPACK; the perturbations are the same."""
    rng = np.random.default_rng(1)
    E, values = rng.normal(size=(Ny + 2, Ny)), rng.normal(size=Ny)
    updated = []
    for error in (GaussianError(0.7, Ny), CorrelatedGaussianError(0.7 * np.eye(Ny))):
        method = StochasticEnKF(UserModel(lambda E: E, Ny), inflation=1.1)
        obs = Observation(0.0, values, Identity(Ny), error)
        updated.append(method.step(method.init(E), obs, np.random.default_rng(2))[0].ensemble)
    np.testing.assert_allclose(*updated, rtol=0, atol=1e-11)
