"""Targets and weightings: conversions are exact, and each target is the one its paper means."""

from functools import partial

import pytest
import torch
from torch.func import jvp

from scoreda.diffusion import EDM, GaussianDenoiser, VPCosine
from scoreda.diffusion.denoisers import TARGETS, convert, score, target_by_name
from scoreda.diffusion.denoisers.weightings import WEIGHTINGS, min_snr, weighting_by_name
from scoreda.diffusion.schedules import RectifiedFlow, VPLinear
from scoreda.errors import ScoredaError

F64 = torch.float64
SCHEDULES = [EDM(), VPCosine(), VPLinear(), RectifiedFlow()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
every_target = pytest.mark.parametrize("name", TARGETS)


def fields(seed, rows=9):
    return torch.randn(rows, 1, 5, generator=torch.Generator().manual_seed(seed), dtype=F64)


def scales(schedule):
    """Signal and noise at nine times from end to end, shaped to broadcast against fields."""
    t = torch.linspace(0, 1, 9, dtype=F64)[:, None, None]
    return schedule.alpha(t), schedule.sigma(t)


def noisy(schedule):
    """Clean states, their noise, the noisy states, and the scales of signal and noise."""
    (alpha, sigma), x, eps = scales(schedule), fields(0), fields(1)
    return x, eps, alpha * x + sigma * eps, alpha, sigma


@every_schedule
@pytest.mark.parametrize("sigma_data", [1.0, 0.3])
@every_target
def test_that_the_target_of_clean_states_and_noise_gives_the_clean_states_back(schedule, name, sigma_data):
    x, eps, x_t, alpha, sigma = noisy(schedule)
    target = target_by_name(name, sigma_data)
    found = target.denoised(target.of(x, eps, alpha, sigma), x_t, alpha, sigma)
    # x is a difference of terms of the size of x_t, so rounding is relative to those.
    assert float(((found - x) / (1 + (x_t / alpha).abs())).abs().max()) < 1e-12


@every_schedule
@every_target
def test_that_a_round_trip_through_the_denoised_state_changes_nothing(schedule, name):
    _, _, x_t, alpha, sigma = noisy(schedule)
    target, x_hat = target_by_name(name), fields(2)
    back = target.denoised(target.predicted(x_hat, x_t, alpha, sigma), x_t, alpha, sigma)
    assert float(((back - x_hat) / (1 + (x_t / alpha).abs())).abs().max()) < 1e-12


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("source", TARGETS)
def test_that_any_two_targets_convert_into_each_other_and_back(source, to):
    t = torch.linspace(0.1, 0.9, 9, dtype=F64)[:, None, None]
    alpha, sigma = VPCosine().alpha(t), VPCosine().sigma(t)
    value, x_t = fields(3), fields(4)
    there = convert(value, source, to, x_t, alpha, sigma)
    back = convert(there, to, source, x_t, alpha, sigma)
    torch.testing.assert_close(back, value, rtol=1e-11, atol=1e-11)
    x, eps = fields(0), fields(1)
    x_t, of = alpha * x + sigma * eps, lambda name: target_by_name(name).of(x, eps, alpha, sigma)
    torch.testing.assert_close(convert(of(source), source, to, x_t, alpha, sigma), of(to), rtol=1e-11, atol=1e-11)


def test_that_targets_are_those_of_their_papers():
    x, eps, x_t, alpha, sigma = noisy(VPCosine())
    of = lambda name, sigma_data=1.0: target_by_name(name, sigma_data).of(x, eps, alpha, sigma)
    torch.testing.assert_close(of("epsilon"), eps)
    torch.testing.assert_close(of("x0"), x)
    torch.testing.assert_close(of("v"), alpha * eps - sigma * x)
    torch.testing.assert_close(of("score"), -(x_t - alpha * x) / sigma**2)
    torch.testing.assert_close(of("velocity"), eps - x)
    torch.testing.assert_close(of("edm"), -of("v"))
    s, sd = sigma / alpha, 0.4
    c_skip, c_out = sd**2 / (s**2 + sd**2), s * sd / (s**2 + sd**2).sqrt()
    torch.testing.assert_close(of("edm", sd), (x - c_skip * (x + s * eps)) / c_out)


def test_that_the_velocity_is_the_derivative_of_the_straight_path():
    schedule, x, eps, t = RectifiedFlow(0.01, 0.02), fields(0), fields(1), torch.tensor(0.3, dtype=F64)
    path = lambda u: schedule.alpha(u) * x + schedule.sigma(u) * eps
    speed = jvp(path, (t,), (torch.ones_like(t),))[1] / 0.97
    torch.testing.assert_close(target_by_name("velocity").of(x, eps, schedule.alpha(t), schedule.sigma(t)), speed)


@every_schedule
def test_that_the_score_of_a_denoiser_is_its_denoised_state_as_a_score(schedule):
    cov = torch.diag(torch.tensor([2.0, 1.0, 0.5, 0.1, 0.01], dtype=F64))
    denoiser, x_t, t = GaussianDenoiser(torch.ones(5, dtype=F64), cov, schedule), fields(5), torch.tensor(0.4)
    alpha, sigma = schedule.alpha(t.double()), schedule.sigma(t.double())
    expected = target_by_name("score").predicted(denoiser(x_t, t), x_t, alpha, sigma)
    torch.testing.assert_close(score(denoiser, x_t, t), expected)


@every_schedule
@every_target
def test_that_the_slope_is_the_response_of_the_denoised_state(schedule, name):
    _, _, x_t, alpha, sigma = noisy(schedule)
    target = target_by_name(name, 0.7)
    response = jvp(lambda value: target.denoised(value, x_t, alpha, sigma), (fields(6),), (torch.ones_like(x_t),))[1]
    torch.testing.assert_close(target.slope(alpha, sigma).expand_as(response), response)


# Weightings: w of the denoised state's squared error, times slope^2, is the weight of the target's.


def weight_of_target(weighting, target, schedule):
    alpha, sigma = scales(schedule)
    return weighting(sigma / alpha) * target_by_name(target).slope(alpha, sigma) ** 2, (alpha / sigma) ** 2


@every_schedule
def test_that_snr_weighting_is_the_plain_error_of_epsilon(schedule):
    weight, _ = weight_of_target(weighting_by_name("snr"), "epsilon", schedule)
    torch.testing.assert_close(weight, torch.ones_like(weight))


@every_schedule
def test_that_score_weighting_is_the_error_of_the_score_times_the_variance(schedule):
    weight, _ = weight_of_target(weighting_by_name("score"), "score", schedule)
    torch.testing.assert_close(weight, scales(schedule)[1] ** 2)


@pytest.mark.parametrize("gamma", [5.0, 1.0])
def test_that_min_snr_weights_are_the_published_ones_of_each_target(gamma):
    weighting, schedule = partial(min_snr, gamma=gamma), VPLinear()
    for target, below in {"x0": lambda snr: 1.0, "epsilon": lambda snr: snr, "v": lambda snr: snr + 1}.items():
        weight, snr = weight_of_target(weighting, target, schedule)
        torch.testing.assert_close(weight, snr.clamp_max(gamma) / below(snr))


@pytest.mark.parametrize("sigma_data", [1.0, 0.3])
def test_that_edm_weighting_is_the_plain_error_of_its_own_target(sigma_data):
    alpha, sigma = scales(EDM())
    weight = weighting_by_name("edm", sigma_data)(sigma) * target_by_name("edm", sigma_data).slope(alpha, sigma) ** 2
    torch.testing.assert_close(weight, torch.ones_like(weight))


def test_that_uniform_weighting_is_one():
    assert torch.equal(WEIGHTINGS["uniform"](fields(0).exp()), torch.ones(9, 1, 5, dtype=F64))


@pytest.mark.parametrize(
    ("lookup", "wrong", "right"), [(target_by_name, "epsilom", "epsilon"), (weighting_by_name, "min-snr", "min_snr")]
)
def test_that_unknown_names_are_answered_with_the_nearest(lookup, wrong, right):
    with pytest.raises(ScoredaError, match=f"'{wrong}'; did you mean '{right}'"):
        lookup(wrong)
