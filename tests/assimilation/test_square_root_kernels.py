"""The square-root update without eigenvectors against eigenvectors, and its parts against NumPy."""

import numpy as np
import pytest

from scoreda.assimilation import LETKF
from scoreda.assimilation.baselines import tridiagonal_kernels
from scoreda.assimilation.baselines.inverse_root import CLASSES, rule
from scoreda.assimilation.baselines.kernels import inverse_root, local_update, square_root_update
from scoreda.assimilation.baselines.member_space import Hessian
from scoreda.assimilation.baselines.tridiagonal_kernels import reflect, rotation_matrix, tridiagonal
from scoreda.assimilation.localisation import neighbourhoods
from scoreda.models import Lorenz96
from scoreda.observations import GaussianError, Identity, Observation

# Anomalies far below, at and far above the error of the observations: condition numbers from 1 to 10^5.
SPREADS = (0.01, 1.0, 50.0)


def by_eigenvectors(A, Y, precision, d):
    """The update as Hunt et al. (2007) write it."""
    N = len(A)
    lam, U = np.linalg.eigh((N - 1) * np.eye(N) + Y * precision @ Y.T)
    increment = d * precision @ Y.T @ (U / lam) @ U.T @ A
    return increment, np.sqrt(N - 1) * (U / np.sqrt(lam)) @ U.T @ A


def problem(N, spread, n=23, Ny=11):
    rng = np.random.default_rng(N)
    A, Y = spread * rng.normal(size=(N, n)), spread * rng.normal(size=(N, Ny))
    return A - A.mean(0), Y - Y.mean(0), rng.uniform(0.5, 2.0, Ny), rng.normal(size=Ny)


@pytest.mark.parametrize("kappa", [4.0 ** (c + 1) for c in range(0, CLASSES - 10, 3)])
def test_that_the_sum_of_shifted_inverses_is_the_inverse_root(kappa):
    shifts, weights = rule(kappa)
    x = np.geomspace(1, kappa, 500)
    np.testing.assert_allclose((weights / (x[:, None] + shifts)).sum(1), x**-0.5, rtol=1e-13 * kappa**0.25)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("N", [2, 3, 8, 21, 40])
def test_that_the_update_equals_that_by_eigenvectors(N, spread):
    arguments = problem(N, spread)
    for ours, expected in zip(square_root_update(*arguments), by_eigenvectors(*arguments), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12 * np.abs(arguments[0]).max())


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("N", [2, 3, 8, 21, 40])
def test_that_the_root_alone_equals_that_by_eigenvectors(N, spread):
    Y = problem(N, spread)[1]
    C = 3.7 * np.eye(N) + Y @ Y.T
    lam, U = np.linalg.eigh(C)
    np.testing.assert_allclose(inverse_root(C, 3.7), (U / np.sqrt(lam)) @ U.T, rtol=0, atol=1e-11)


def test_that_the_hessian_stays_positive_definite_where_the_prior_is_lost_in_rounding():
    C = Hessian.of(1e9 * problem(8, 1.0)[1], 7.0)
    assert np.linalg.eigvalsh(C.C).min() > 0
    assert np.linalg.eigvalsh(C.root).min() > 0


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("N", [2, 7, 20])
def test_that_the_local_update_is_the_update_of_every_column_with_tapered_errors(N, spread):
    A, Y, precision, d = problem(N, spread)
    near = neighbourhoods(np.linspace(0.0, 21.0, 11), 23, 4.0)
    increment, anomalies = local_update(A, Y, precision, d, *near)
    for i in range(23):
        obs, taper = near.obs[near.start[i] : near.start[i + 1]], near.weight[near.start[i] : near.start[i + 1]]
        mean, column = by_eigenvectors(A[:, [i]], Y[:, obs], precision[obs] * taper, d[obs])
        np.testing.assert_allclose(anomalies[:, i], column[:, 0], rtol=0, atol=1e-12 * np.abs(A).max())
        np.testing.assert_allclose(increment[i], mean[0], rtol=0, atol=1e-12 * np.abs(A).max())


@pytest.mark.parametrize("N", [1, 2, 9, 24])
def test_that_the_reflections_make_a_matrix_tridiagonal(N):
    B = np.random.default_rng(N).normal(size=(N, N))
    C = B @ B.T
    d, e, V, beta = tridiagonal(C)
    Q = np.eye(N)
    for v, b in zip(V[:, :N], beta, strict=True):
        Q = Q @ (np.eye(N) - b * np.outer(v, v))
    T = np.diag(d) + np.diag(e[:-1], 1) + np.diag(e[:-1], -1)
    np.testing.assert_allclose(Q @ T @ Q.T, C, atol=1e-12 * np.abs(C).max())


@pytest.mark.parametrize("N", [2, 3, 20])
def test_that_a_rotation_is_the_orthogonal_factor_in_the_space_of_anomalies(N):
    X = np.random.default_rng(N).normal(size=(N - 1, N - 1))
    Q, R = np.linalg.qr(X)
    v = np.eye(N)[0] - N**-0.5
    B = (np.eye(N) - np.outer(v, v) * (2 / (v @ v)))[:, 1:]
    np.testing.assert_allclose(rotation_matrix(X), 1 / N + B @ (Q * np.sign(np.diag(R))) @ B.T, atol=1e-13)


def test_that_equal_members_are_left_as_they_are():
    zeros = np.zeros((5, 6))
    increment, anomalies = square_root_update(zeros, zeros, np.ones(6), np.ones(6))
    np.testing.assert_array_equal(increment, np.zeros(6))
    np.testing.assert_array_equal(anomalies, zeros)


def test_that_a_grid_in_parts_has_the_analysis_of_the_whole(monkeypatch):
    rng, model = np.random.default_rng(3), Lorenz96(50)
    E, obs = rng.normal(size=(6, 50)), Observation(0.0, rng.normal(size=50), Identity(50), GaussianError(1.0, 50))
    method = LETKF(model, radius=4.0, inflation=1.1, rotate=True)
    whole = method.step(method.init(E), obs, np.random.default_rng(4))[0].ensemble
    monkeypatch.setattr("scoreda.assimilation.baselines.letkf.PART", 17)
    parts = method.step(method.init(E), obs, np.random.default_rng(4))[0].ensemble
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("name", [name for name in tridiagonal_kernels.__all__ if name != "OPTIONS"])
def test_that_every_kernel_on_offer_says_what_it_does(name):
    assert getattr(tridiagonal_kernels, name).__doc__


def test_that_a_reflection_is_the_matrix_that_its_vector_makes():
    v, x = np.random.default_rng(1).normal(size=(2, 5))
    expected = (np.eye(5) - 0.3 * np.outer(v, v)) @ x
    reflect(v, 0.3, x)
    np.testing.assert_allclose(x, expected, rtol=1e-13)
