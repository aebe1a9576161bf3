import numpy as np
import pytest
from scipy.integrate import quad

from scoreda.assimilation.baselines import (
    ETKF,
    LETKF,
    BootstrapPF,
    EnKFN,
    ExtendedKalman,
    IEnKS,
    LikelihoodAware,
    OptimalInterpolation,
    OptimalPF,
    Persistence,
    ThreeDVar,
)
from scoreda.assimilation.baselines.ensembles import split
from scoreda.assimilation.baselines.sites import gaussian_sites, tilted_moments
from scoreda.datasets import Climatology
from scoreda.experiments.method_settings import Parts
from scoreda.experiments.methods import IEnKSSettings
from scoreda.models import AdditiveError, Lorenz96, UserModel, WithModelError
from scoreda.observations import (
    CorrelatedGaussianError,
    GaussianError,
    Identity,
    LaplaceError,
    Observation,
    StudentTError,
)

STILL = UserModel(lambda E: E, 3)
HEAVY = {"laplace": lambda R, n: LaplaceError(R, n), "student t": lambda R, n: StudentTError(R, n, df=3.0)}


def by_quadrature(y, error, m, v):
    """Mean and variance of the density ~ N(z; m, v) p(y - z), by adaptive quadrature on both sides of the kink."""
    at = sorted({m, y})
    ends = [at[0] - 12 * v**0.5, *at, at[-1] + 12 * v**0.5]
    top = max(float(error.log_density(np.array([y - z]))[0]) - 0.5 * (z - m) ** 2 / v for z in np.linspace(m, y, 200))

    def moment(f):
        def integrand(z):
            return f(z) * np.exp(float(error.log_density(np.array([y - z]))[0]) - 0.5 * (z - m) ** 2 / v - top)

        return sum(quad(integrand, a, b, epsabs=1e-13, limit=400)[0] for a, b in zip(ends[:-1], ends[1:], strict=True))

    mean = moment(lambda z: z) / moment(lambda z: 1.0)
    return mean, moment(lambda z: (z - mean) ** 2) / moment(lambda z: 1.0)


@pytest.mark.parametrize("kind", HEAVY)
@pytest.mark.parametrize("v", [0.01, 0.3, 1.0, 30.0])
@pytest.mark.parametrize("y", [0.0, 0.7, -3.0, 9.0])
def test_that_tilted_moments_are_those_of_adaptive_quadrature(kind, v, y):
    error = HEAVY[kind](0.8, 1)
    mu, nu = tilted_moments(np.array([y + 1.0]), error, np.ones(1), np.array([v]))
    mean, variance = by_quadrature(y + 1.0, error, 1.0, v)
    np.testing.assert_allclose((mu[0] - mean) / variance**0.5, 0, atol=1e-5)
    np.testing.assert_allclose(nu[0], variance, rtol=1e-5)


@pytest.mark.parametrize("v", [0.01, 1.0, 30.0])
def test_that_tilted_moments_of_gaussian_errors_are_the_kalman_update(v):
    y, m, R = np.array([-2.0, 0.0, 3.5]), np.array([0.3, 0.0, -1.0]), np.array([0.5, 1.0, 4.0])
    mu, nu = tilted_moments(y, GaussianError(R, 3), m, np.full(3, v))
    np.testing.assert_allclose(mu, m + v / (v + R) * (y - m), atol=1e-5)
    np.testing.assert_allclose(nu, v * R / (v + R), rtol=1e-4)


@pytest.mark.parametrize("error", [GaussianError([0.5, 1.0, 4.0], 3), CorrelatedGaussianError(np.eye(3) + 0.3)])
def test_that_observations_with_gaussian_errors_are_their_own_sites(error):
    obs = Observation(0.0, np.array([1.0, -2.0, 0.5]), Identity(3), error)
    sites = gaussian_sites(obs, np.random.default_rng(0).normal(size=(6, 3)), sweeps=4)
    np.testing.assert_array_equal(sites.values, obs.values)
    np.testing.assert_array_equal(sites.error.covariance, error.covariance)


@pytest.mark.parametrize("kind", HEAVY)
@pytest.mark.parametrize("y", [0.2, 2.5, -20.0])
def test_that_one_observation_leads_an_etkf_to_the_moments_of_the_true_posterior(kind, y):
    """An outlier may leave a tilted density wider than the cavity; the mean is right even then."""
    E = np.random.default_rng(1).normal(size=(7, 1)) * 1.5
    obs = Observation(0.0, np.array([y]), Identity(1), HEAVY[kind](0.6, 1))
    method = LikelihoodAware(ETKF(UserModel(lambda E: E, 1)))
    state, _ = method.step(method.init(E), obs, np.random.default_rng(2))
    mean, variance = by_quadrature(y, obs.error, float(E.mean()), float(E.var(ddof=1)))
    np.testing.assert_allclose(state.ensemble.mean(), mean, atol=1e-4)
    np.testing.assert_allclose(state.ensemble.var(ddof=1), min(variance, E.var(ddof=1)), rtol=1e-3)


def exact_posterior(m, P, y, error):
    """Mean and covariance of a two-dimensional posterior, on a grid."""
    axes = [np.linspace(m[i] - 8 * P[i, i] ** 0.5, m[i] + 8 * P[i, i] ** 0.5, 801) for i in range(2)]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    log = error.log_density(y - z).sum(1) - 0.5 * np.einsum("ni,ij,nj->n", z - m, np.linalg.inv(P), z - m)
    w = np.exp(log - log.max())
    w /= w.sum()
    mean = w @ z
    return mean, (z - mean).T @ ((z - mean) * w[:, None])


def test_that_sweeps_bring_dependent_observations_nearer_to_the_true_posterior():
    """Two variables that vary together, an observation near and an outlier."""
    rng = np.random.default_rng(3)
    E = rng.normal(size=(40, 1)) + 0.4 * rng.normal(size=(40, 2))
    obs = Observation(0.0, np.array([0.4, 4.0]), Identity(2), StudentTError(0.5, 2))
    mean, P = exact_posterior(E.mean(0), np.cov(E.T), obs.values, obs.error)
    misses = []
    for sweeps in (1, 6):
        method = LikelihoodAware(ETKF(UserModel(lambda E: E, 2)), sweeps)
        state, _ = method.step(method.init(E), obs, np.random.default_rng(4))
        misses.append(np.abs(state.ensemble.mean(0) - mean).max())
    assert misses[1] < 0.5 * misses[0] and misses[1] < 0.1


def test_that_an_outlier_carries_almost_no_weight():
    E = np.random.default_rng(5).normal(size=(8, 3))
    obs = Observation(0.0, np.array([0.1, 50.0, -0.2]), Identity(3), StudentTError(0.5, 3))
    precision = 1 / gaussian_sites(obs, E).error.variance
    assert precision[1] < 1e-3 * precision[[0, 2]].min()


@pytest.mark.parametrize("make", [ETKF, EnKFN, lambda m: LETKF(m, 9.0), lambda m: IEnKS(m, lag=2)])
def test_that_with_gaussian_errors_it_is_the_method_itself(make):
    E = np.random.default_rng(6).normal(size=(8, 3))
    plain, aware = make(STILL), LikelihoodAware(make(STILL))
    one, two = plain.init(E), aware.init(E)
    for k in range(1, 4):
        obs = Observation(float(k), np.array([0.5, np.nan, -1.0]), Identity(3), GaussianError(0.7, 3))
        one, info = plain.step(one, obs, np.random.default_rng(k))
        two, info_aware = aware.step(two, obs, np.random.default_rng(k))
        np.testing.assert_allclose(two.ensemble, one.ensemble, atol=1e-12)
        assert info_aware.diagnostics == pytest.approx(info.diagnostics)


CLIMATE = Climatology.of(np.random.default_rng(9).normal(size=(20, 3)))


@pytest.mark.parametrize(
    "method",
    [
        ExtendedKalman(UserModel(lambda E: E, 3, tangent=lambda x, dX: (x, dX))),
        ThreeDVar(STILL, CLIMATE),
        OptimalInterpolation(STILL, CLIMATE),
        Persistence(STILL, CLIMATE),
        OptimalPF(WithModelError(STILL, AdditiveError(0.1))),
        BootstrapPF(STILL, threshold=0.5),
    ],
    ids=lambda method: method.name,
)
def test_that_a_method_with_another_forecast_than_that_of_its_ensemble_is_refused(method):
    with pytest.raises(ValueError, match=f"{method.name} makes another of its own. Use ETKF, LETKF or IEnKS"):
        LikelihoodAware(method)


def test_that_chi_square_and_cost_are_those_of_the_observations():
    model, rng = Lorenz96(40), np.random.default_rng(7)
    E = 8 + rng.normal(size=(6, 40))
    obs = Observation(0.1, 8 + rng.normal(size=40), Identity(40), LaplaceError(2.0, 40))
    method = LikelihoodAware(ETKF(model))
    _, info = method.step(method.init(E), obs, rng)
    Hx, Y = split(model.step(E, 2))
    np.testing.assert_allclose(info.diagnostics["chi2"], np.mean((obs.values - Hx) ** 2 / (Y.var(0, ddof=1) + 2.0)))
    assert info.diagnostics["model_steps"] == 6 * 2


@pytest.mark.parametrize("kind", HEAVY)
def test_that_knowing_the_errors_pays_on_lorenz96(kind):
    """An error variance of 1 with tails is worth a Gaussian one of about a half."""
    model, scores = Lorenz96(40), []
    for method in (ETKF(model, 1.02), LikelihoodAware(ETKF(model, 1.02))):
        rng = np.random.default_rng(8)
        truth = model.step(model.random_states(1, rng), 400)
        state, errors = method.init(truth + rng.normal(size=(28, 40))), []
        for k in range(1, 251):
            truth, error = model.step(truth), HEAVY[kind](1.0, 40)
            obs = Observation(k * model.dt, truth[0] + error.sample(rng), Identity(40), error)
            state, _ = method.step(state, obs, np.random.default_rng(k))
            errors.append(np.sqrt(np.mean((state.ensemble.mean(0) - truth) ** 2)))
        scores.append(np.mean(errors[50:]))
    assert scores[1] < 0.85 * scores[0]


def test_that_a_configuration_asks_for_sites_by_their_sweeps():
    parts = Parts(Lorenz96(8), climatology=None, prior=None)
    plain, aware = (IEnKSSettings(kind="ienks", lag=3, sites=sites).build(parts) for sites in (0, 2))
    assert isinstance(plain, IEnKS) and plain.lag == 3
    assert aware.name == "ienks_sites" and aware.sweeps == 2 and aware.method.lag == 3
    assert IEnKSSettings(kind="ienks", sites=2).tuning() == "sites=2"


def test_that_no_sweep_is_refused():
    with pytest.raises(ValueError, match="`sweeps` must be a whole number from 1 on, got 0"):
        LikelihoodAware(ETKF(STILL), sweeps=0)
