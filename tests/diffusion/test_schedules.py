"""Noise schedules: published formulae, inverses, and settings that are refused."""

import math

import pytest
import torch

from scoreda.diffusion import EDM, VPCosine
from scoreda.diffusion.schedules import expand, schedule_from_spec
from scoreda.diffusion.training.levels import log_normal_sigma
from scoreda.errors import ScoredaError

SCHEDULES = [EDM(), EDM(0.01, 300.0, 3.0), VPCosine(), VPCosine(0.02, 0.01, 1.0)]
TIMES = torch.linspace(0, 1, 101, dtype=torch.float64)

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: f"{s.name}-rho{s.rho:g}")


@every_schedule
def test_that_time_inverts_the_ratio_of_noise_to_signal(schedule):
    ratio = schedule.sigma(TIMES) / schedule.alpha(TIMES)
    torch.testing.assert_close(schedule.time(ratio), TIMES, rtol=1e-9, atol=1e-9)


@every_schedule
def test_that_noise_grows_and_signal_to_noise_falls_with_time(schedule):
    sigma, alpha = schedule.sigma(TIMES), schedule.alpha(TIMES)
    assert (sigma.diff() > 0).all()
    assert ((alpha / sigma).diff() < 0).all()
    assert float(alpha[0] / sigma[0]) > 20 > 1 > float(alpha[-1] / sigma[-1])


@every_schedule
def test_that_a_schedule_is_rebuilt_from_its_spec(schedule):
    again = schedule_from_spec(schedule.spec())
    assert type(again) is type(schedule)
    assert again.spec() == schedule.spec()
    assert torch.equal(again.sigma(TIMES), schedule.sigma(TIMES))


def test_that_uniform_steps_are_the_published_time_steps_of_edm():
    n, low, high, rho = 18, 0.002, 80.0, 7.0
    published = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    times = torch.linspace(1, 0, n, dtype=torch.float64)
    torch.testing.assert_close(EDM().sigma(times), torch.tensor(published, dtype=torch.float64))
    assert torch.equal(EDM().alpha(times), torch.ones(n, dtype=torch.float64))


def test_that_vp_cosine_preserves_variance_between_its_two_end_angles():
    schedule = VPCosine(0.02, 0.03, 2.0)
    torch.testing.assert_close(schedule.alpha(TIMES) ** 2 + schedule.sigma(TIMES) ** 2, torch.ones_like(TIMES))
    assert float(schedule.sigma(TIMES[0])) == pytest.approx(math.sin(0.02))
    assert float(schedule.alpha(TIMES[-1])) == pytest.approx(math.sin(0.03))


@pytest.mark.parametrize(
    "settings",
    [(0.0, 80.0), (2.0, 1.0), (math.nan, 80.0), (0.002, math.inf), (0.002, 80.0, 0.0), (0.002, 80.0, math.inf)],
)
def test_that_edm_refuses_settings_without_a_schedule(settings):
    with pytest.raises(ValueError, match="sigma_min < sigma_max"):
        EDM(*settings)


@pytest.mark.parametrize("settings", [(0.0,), (1.6,), (math.nan,), (0.01, 0.0), (0.01, 0.001, -1.0)])
def test_that_vp_cosine_refuses_settings_without_a_schedule(settings):
    with pytest.raises(ValueError, match="theta_min < pi/2 - margin"):
        VPCosine(*settings)


def test_that_an_unknown_schedule_is_answered_with_the_nearest_name():
    with pytest.raises(ScoredaError, match="did you mean 'vp_cosine'"):
        schedule_from_spec({"name": "vp_cosin"})


def test_that_expanded_values_broadcast_along_the_batch():
    x = torch.zeros(3, 2, 5)
    assert expand(torch.arange(3), x).shape == (3, 1, 1)
    assert expand(torch.tensor(2.0), x).shape == ()


def test_that_training_noise_is_log_normal_and_bounded():
    sigma = log_normal_sigma((200_000,), -1.2, 1.2, torch.Generator().manual_seed(0))
    assert float(sigma.log().mean()) == pytest.approx(-1.2, abs=0.01)
    assert float(sigma.log().std()) == pytest.approx(1.2, abs=0.01)
    extreme = log_normal_sigma((100,), 0.0, 100.0, torch.Generator().manual_seed(0))
    assert math.exp(-9.01) < float(extreme.min()) < float(extreme.max()) < math.exp(9.01)
