"""Inflation schemes, around any filter."""

import numpy as np
import pytest

from scoreda.assimilation.baselines import (
    ETKF,
    LETKF,
    RTPP,
    RTPS,
    Adaptive,
    BootstrapPF,
    Climatological,
    ExtendedKalman,
    FourDVar,
    FreeRun,
    IEnKS,
    Inflated,
    LikelihoodAware,
    LocalIEnKS,
    LocalPF,
    Multiplicative,
    OptimalInterpolation,
    OptimalPF,
    Persistence,
    StochasticEnKF,
    ThreeDVar,
)
from scoreda.assimilation.score import Score4D
from scoreda.datasets import Climatology
from scoreda.models import AdditiveError, Lorenz96, UserModel, WithModelError
from scoreda.observations import Elementwise, EveryNth, GaussianError, Identity, Observation

RING = Lorenz96(40)
STILL = UserModel(lambda E: E, size=40, dt=0.05)
OBS = Observation(0.1, np.random.default_rng(60).normal(2, 3, 20), EveryNth(40, 2), GaussianError(1.0, 20))


def ensemble(N=12, seed=61):
    return 3 + 2 * np.random.default_rng(seed).normal(size=(N, 40))


def step(method, obs=OBS, E=None, seed=0):
    return method.step(method.init(ensemble() if E is None else E), obs, np.random.default_rng(seed))


def anomalies(E):
    return E - E.mean(0)


@pytest.mark.parametrize(
    "filtered",
    [ETKF, StochasticEnKF, lambda m, inflation=1.0: LETKF(m, 6.0, inflation)],
    ids=["ETKF", "EnKF", "LETKF"],
)
@pytest.mark.parametrize("model", [RING, WithModelError(RING, AdditiveError(0.1))], ids=["perfect", "random"])
def test_that_multiplicative_inflation_is_the_filters_own(filtered, model):
    own, info_own = step(filtered(model, inflation=1.1))
    around, info = step(Inflated(filtered(model), Multiplicative(1.1)))
    np.testing.assert_allclose(own.ensemble, around.ensemble, atol=1e-12)
    np.testing.assert_array_equal(info_own.prior, info.prior)
    assert info_own.diagnostics == info.diagnostics


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0, 1.3])
def test_that_rtps_moves_the_spread_towards_the_forecast_and_keeps_mean_and_correlations(alpha):
    plain, info = step(LETKF(RING, 6.0))
    relaxed, _ = step(Inflated(LETKF(RING, 6.0), RTPS(alpha)))
    before, after = info.prior.std(0), plain.ensemble.std(0)
    np.testing.assert_allclose(relaxed.ensemble.mean(0), plain.ensemble.mean(0), atol=1e-12)
    np.testing.assert_allclose(relaxed.ensemble.std(0), (1 - alpha) * after + alpha * before, atol=1e-12)
    scaled = anomalies(plain.ensemble) / after * relaxed.ensemble.std(0)
    np.testing.assert_allclose(anomalies(relaxed.ensemble), scaled, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_that_rtpp_mixes_the_anomalies_of_forecast_and_analysis(alpha):
    plain, info = step(LETKF(RING, 6.0))
    relaxed, _ = step(Inflated(LETKF(RING, 6.0), RTPP(alpha)))
    mixed = (1 - alpha) * anomalies(plain.ensemble) + alpha * anomalies(info.prior)
    np.testing.assert_allclose(relaxed.ensemble, plain.ensemble.mean(0) + mixed, atol=1e-12)


def test_that_rtps_leaves_a_variable_whose_members_agree():
    prior, analysis = ensemble(), ensemble(seed=62)
    analysis[:, 3] = 7.0
    relaxed = RTPS(0.5).of_analysis(prior, analysis)
    np.testing.assert_array_equal(relaxed[:, 3], 7.0)
    assert np.isfinite(relaxed).all()


def test_that_schemes_nest():
    nested, info = step(Inflated(Inflated(LETKF(RING, 6.0), Multiplicative(1.2)), RTPS(0.5)))
    inner, _ = step(LETKF(RING, 6.0, inflation=1.2))
    expected = RTPS(0.5).of_analysis(info.prior, inner.ensemble)
    np.testing.assert_allclose(nested.ensemble, expected, atol=1e-12)


@pytest.mark.parametrize("scheme", [Multiplicative(1.5), RTPS(0.7), RTPP(0.7), Adaptive()], ids=lambda s: s.name)
def test_that_nothing_is_inflated_without_observations(scheme):
    lost = Observation(0.1, np.full(20, np.nan), OBS.operator, OBS.error)
    state, _ = step(Inflated(LETKF(RING, 6.0), scheme), lost)
    np.testing.assert_array_equal(state.ensemble, RING.step(ensemble(), 2))


def misfit(factor, before, std, d, s, R):
    return ((factor - before) / std) ** 2 + np.sum(np.log(factor * s + R) + d**2 / (factor * s + R))


def test_that_the_adaptive_factor_is_the_mode_of_its_posterior():
    E = ensemble()
    method = Inflated(ETKF(STILL), Adaptive(std=0.5))
    state, info = step(method, E=E)
    s, d = np.var(OBS.operator(E), axis=0, ddof=1), OBS.values - OBS.operator(E).mean(0)
    factors = np.linspace(1, 10, 90_001)
    best = factors[np.argmin([misfit(f, 1.0, 0.5, d, s, 1.0) for f in factors])]
    assert info.diagnostics["inflation"] == pytest.approx(best, abs=2e-4) and best > 1.01
    own, _ = step(ETKF(STILL, inflation=np.sqrt(state.memory["inflation"])), E=E)
    np.testing.assert_allclose(state.ensemble, own.ensemble, atol=1e-12)


def test_that_the_factor_of_the_last_time_is_where_the_next_begins():
    method, rng = Inflated(ETKF(STILL), Adaptive(std=0.5)), np.random.default_rng(0)
    first = method.init(ensemble()).replace(memory={"inflation": np.array(4.0)})
    _, info = method.step(first, OBS, rng)
    _, fresh = method.step(method.init(ensemble()), OBS, rng)
    assert info.diagnostics["inflation"] > fresh.diagnostics["inflation"]


@pytest.mark.parametrize("too_narrow", [1.0, 1.5, 2.0])
def test_that_adaptive_inflation_recovers_how_much_too_narrow_the_ensemble_is(too_narrow):
    """Truth and members are N(0, 4), the members' anomalies then divided: the factor is the square of the divisor."""
    rng, scheme, memory, factors = np.random.default_rng(63), Adaptive(std=0.1, least=0.1), {}, []
    for _ in range(600):
        truth, E = 2 * rng.normal(size=40), 2 * rng.normal(size=(200, 40)) / too_narrow
        obs = Observation(0.0, truth + rng.normal(size=40), Identity(40), GaussianError(1.0, 40))
        _, memory = scheme.of_forecast(E, obs, memory)
        factors.append(float(memory["inflation"]))
    found = np.array(factors[200:]).reshape(8, 50).mean(1)
    assert abs(found.mean() - too_narrow**2) < 0.03 * too_narrow**2 + 5 * found.std(ddof=1) / np.sqrt(8)


def test_that_rtpp_refuses_a_filter_that_resamples_into_other_rows_however_deep():
    with pytest.raises(ValueError, match="bootstrap_pf puts other members in their rows. Use RTPS, or LocalPF"):
        Inflated(BootstrapPF(RING), RTPP(0.3))
    with pytest.raises(ValueError, match="other members in their rows"):
        Inflated(Inflated(BootstrapPF(RING), RTPS(0.3)), RTPP(0.3))
    assert Inflated(LocalPF(RING, 4.0), RTPP(0.3)).name == "local_pf_rtpp"


def test_that_rtpp_refuses_a_filter_that_rotates_its_members_however_deep():
    with pytest.raises(ValueError, match="etkf rotates them.*rotate=False"):
        Inflated(ETKF(RING), RTPP(0.3))
    with pytest.raises(ValueError, match="rotates them"):
        Inflated(Inflated(ETKF(RING), RTPS(0.3)), RTPP(0.3))
    assert Inflated(ETKF(RING, rotate=False), RTPP(0.3)).name == "etkf_rtpp"


@pytest.mark.parametrize(
    "make",
    [
        lambda climate: OptimalInterpolation(RING, climate),
        lambda climate: Climatological(RING, climate),
        lambda climate: Persistence(RING, climate),
        lambda climate: ThreeDVar(RING, climate),
        lambda climate: FourDVar(RING, climate),
        lambda climate: Score4D(RING, climate),
        lambda climate: ExtendedKalman(RING),
        lambda climate: IEnKS(RING, iterations=1),
        lambda climate: LikelihoodAware(IEnKS(RING)),
        lambda climate: LocalIEnKS(RING, 6.0),
        lambda climate: OptimalPF(WithModelError(RING, AdditiveError(0.1))),
        lambda climate: BootstrapPF(RING, threshold=0.5),
    ],
)
def test_that_a_method_that_analyses_something_else_than_the_forecast_it_is_given_is_refused(make):
    method = make(Climatology.of(ensemble(200)))
    with pytest.raises(ValueError, match=f"{method.name} does not analyse the forecast .*own `inflation`.*ETKF"):
        Inflated(method, Multiplicative(2.0))


class Spread:
    """A method of a user that widens its forecast by itself, and does not say so."""

    name, model = "spread", RING

    def init(self, ensemble, time=0.0):
        return ETKF(RING).init(ensemble, time)

    def step(self, state, obs, rng):
        return ETKF(RING).step(state.replace(ensemble=2 * state.ensemble), obs, rng)


def test_that_a_method_that_does_not_say_so_is_found_out():
    with pytest.raises(ValueError, match="spread does not analyse the forecast it is given"):
        step(Inflated(Spread(), RTPS(0.5)))


@pytest.mark.parametrize("scheme", [RTPS, RTPP])
@pytest.mark.parametrize("alpha", [-0.1, np.nan, np.inf])
def test_that_a_relaxation_below_zero_is_refused(scheme, alpha):
    with pytest.raises(ValueError, match="`alpha` must not be negative"):
        scheme(alpha)


@pytest.mark.parametrize("settings", [{"std": 0.0}, {"least": -1.0}, {"least": 3.0, "most": 2.0}, {"most": np.inf}])
def test_that_adaptive_bounds_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=f"`{list(settings)[-1]}` must be"):
        Adaptive(**settings)


def test_that_persistence_is_the_optimal_interpolation_of_the_time_before():
    climate, rng, other = Climatology.of(ensemble(200)), np.random.default_rng(1), np.random.default_rng(1)
    held, oi = Persistence(RING, climate), OptimalInterpolation(RING, climate)
    state, reference = held.init(ensemble()), oi.init(ensemble())
    np.testing.assert_array_equal(state.ensemble, ensemble())
    for time in (0.05, 0.1, 0.2):
        obs = Observation(time, OBS.values + time, OBS.operator, OBS.error)
        state, info = held.step(state, obs, rng)
        np.testing.assert_array_equal(state.ensemble, reference.ensemble)
        np.testing.assert_array_equal(info.prior, reference.ensemble)
        reference, _ = oi.step(reference, obs, other)


def test_that_persistence_outlasts_a_time_without_observations():
    climate, rng = Climatology.of(ensemble(200)), np.random.default_rng(1)
    method = Persistence(RING, climate)
    state, _ = method.step(method.init(ensemble()), OBS, rng)
    lost = Observation(0.2, np.full(20, np.nan), OBS.operator, OBS.error)
    state, _ = method.step(state, lost, rng)
    later, _ = method.step(state, Observation(0.3, OBS.values, OBS.operator, OBS.error), rng)
    np.testing.assert_array_equal(later.ensemble, state.ensemble)


def test_that_relaxation_widens_a_filter_for_any_operator():
    obs = Observation(0.1, np.full(40, 0.5), Elementwise(Identity(40), "arctan"), GaussianError(0.05, 40))
    plain, _ = step(LETKF(RING, 6.0), obs)
    wide, info = step(Inflated(LETKF(RING, 6.0), RTPS(0.5)), obs)
    assert plain.ensemble.std() < wide.ensemble.std() < info.prior.std()
    free, _ = step(Inflated(FreeRun(RING), RTPS(0.5)), obs)
    np.testing.assert_allclose(free.ensemble, RING.step(ensemble(), 2), atol=1e-12)
