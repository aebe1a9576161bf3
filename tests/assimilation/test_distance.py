"""What observations reach: every localised method, with a distance and a taper of one's own, or those of the model."""

import numpy as np
import pytest

from scoreda.assimilation.baselines import (
    LETKF,
    DEnKF,
    LocalIEnKS,
    LocalPF,
    RankHistogramFilter,
    SerialEnSRF,
    StochasticEnKF,
)
from scoreda.assimilation.score import CoupledScoreFilter
from scoreda.models import AdditiveError, TwoScaleLorenz96, UserModel, WithModelError
from scoreda.observations import GaussianError, Observation, Sites

SLOW, FAST = 6, 5
METHODS = (LETKF, DEnKF, StochasticEnKF, SerialEnSRF, RankHistogramFilter, LocalPF, LocalIEnKS)
every_method = pytest.mark.parametrize("method", METHODS)


class Still(TwoScaleLorenz96):
    """The places of the two-scale model, whose state stays as it is."""

    def step(self, E, steps=1):
        return E.copy()


def updated(method, site, size):
    """Return which variables the observation of one of them changes, in the mean."""
    E = np.random.default_rng(4).normal(size=(7, size))
    obs = Observation(0.005, np.array([3.0]), Sites(size, [site]), GaussianError(1.0, 1))
    state, _ = method.step(method.init(E), obs, np.random.default_rng(5))
    return np.abs(state.ensemble.mean(0) - E.mean(0)) > 1e-10


@every_method
def test_that_any_distance_and_taper_decide_what_an_observation_reaches(method):
    still = UserModel(lambda E: E, 12, dt=0.005)
    parity = lambda a, b: 2.0 * ((a[:, None] - b) % 2)  # even places are far from odd ones
    box = lambda r: (r < 1.5).astype(float)
    local = method(still, radius=1.0, taper=box, distance=parity)
    np.testing.assert_array_equal(updated(local, 2, 12), np.arange(12) % 2 == 0)


@pytest.mark.parametrize("method", [*METHODS, CoupledScoreFilter])
def test_that_two_scales_lie_along_one_ring(method):
    model = Still(SLOW, FAST)
    # Slow variable k at k, its fast ones evenly about it: one of each neighbour's is near enough.
    places = np.concatenate([np.arange(SLOW), (np.arange(SLOW)[:, None] + [-0.4, -0.2, 0, 0.2, 0.4]).ravel()])
    apart = np.abs(places - (SLOW - 1))
    np.testing.assert_array_equal(
        updated(method(model, radius=0.35), SLOW - 1, model.size), np.minimum(apart, SLOW - apart) < 0.7
    )


def test_that_a_distance_given_comes_before_the_model_s():
    far = lambda a, b: np.where(a[:, None] == b, 0.0, 9.0)
    model = Still(SLOW, FAST)
    changed = updated(LETKF(model, radius=2.0, distance=far), 0, model.size)
    np.testing.assert_array_equal(changed, np.arange(model.size) == 0)


def test_that_a_model_with_errors_has_the_distances_of_the_model():
    model = TwoScaleLorenz96(SLOW, FAST)
    noisy, pair = WithModelError(model, AdditiveError(0.1)), (np.arange(3), np.array([SLOW, 35]))
    np.testing.assert_array_equal(noisy.distance(*pair), model.distance(*pair))
    assert noisy.offers == {"random", "distance"}


def test_that_between_the_variables_of_two_scales_there_is_no_place():
    model = Still(SLOW, FAST)
    with pytest.raises(ValueError, match="between the 36 variables of two_scale_lorenz96 there are no places"):
        updated(LocalIEnKS(model, radius=2.0, drift=3.0), 0, model.size)
    with pytest.raises(ValueError, match="no even grid"):
        CoupledScoreFilter(model, radius=2.0).on(model, np.arange(4))
