"""Samplers: on a Gaussian every step has a closed form, so order, ends and starts are checked against it."""

import numpy as np
import pytest
import torch

from scoreda.diffusion import EDM, GaussianDenoiser, HeunSampler, VPCosine, noise

F64 = torch.float64
SCHEDULES = [EDM(0.01, 50.0), VPCosine()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
MEAN, VARIANCES = torch.tensor([1.0, -2.0, 0.5], dtype=F64), torch.tensor([4.0, 0.5, 0.02], dtype=F64)


def make_denoiser(schedule):
    return GaussianDenoiser(MEAN, torch.diag(VARIANCES), schedule)


def states(seed=0, number=4):
    return torch.randn(number, 1, 3, generator=torch.Generator().manual_seed(seed), dtype=F64)


def scales(schedule, t):
    """`alpha_t` and the standard deviation of `x_t`."""
    t = torch.as_tensor(t, dtype=F64)
    return schedule.alpha(t), (schedule.alpha(t) ** 2 * VARIANCES + schedule.sigma(t) ** 2).sqrt()


def transported(schedule, x_t, t, s):
    """The exact probability-flow map of the Gaussian from `t` to `s`: standardised anomalies stay."""
    (alpha_t, std_t), (alpha_s, std_s) = scales(schedule, t), scales(schedule, s)
    return alpha_s * MEAN + std_s * (x_t - alpha_t * MEAN) / std_t


def exact_sample(schedule, x, start):
    """The exact flow down to `t = 0`, then the denoiser, the sampler's last step."""
    return make_denoiser(schedule)(transported(schedule, x, start, 0.0), 0.0)


@every_schedule
@pytest.mark.parametrize("start", [1.0, 0.5])
def test_that_heun_converges_at_second_order(schedule, start):
    x = noise((4, 1, 3), make_denoiser(schedule), torch.Generator().manual_seed(1), start).double()
    steps = np.array([64, 128, 256, 512])
    errors = [
        float((HeunSampler(make_denoiser(schedule), int(n) + 1)(x, start) - exact_sample(schedule, x, start)).norm())
        for n in steps
    ]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(-2, abs=0.15)


@every_schedule
def test_that_a_sampler_started_at_a_forecast_s_noise_ends_at_the_exact_flow(schedule):
    start = float(schedule.time(torch.tensor(0.3, dtype=F64)))
    x = MEAN + states() * (VARIANCES + 0.09).sqrt()
    x_t = schedule.alpha(torch.tensor(start, dtype=F64)) * x
    sample = HeunSampler(make_denoiser(schedule), 64)(x_t, start)
    torch.testing.assert_close(sample, exact_sample(schedule, x_t, start), rtol=0, atol=2e-4)


@every_schedule
def test_that_a_step_can_be_taken_back_up_in_noise(schedule):
    sampler, x = HeunSampler(make_denoiser(schedule)), states()
    t, s = torch.tensor(0.50, dtype=F64), torch.tensor(0.51, dtype=F64)
    up = sampler.step(x, t, s)
    torch.testing.assert_close(up, transported(schedule, x, 0.50, 0.51), rtol=0, atol=1e-4)
    torch.testing.assert_close(sampler.step(up, s, t), x, rtol=0, atol=1e-4)


@every_schedule
def test_that_samples_have_the_moments_of_the_gaussian(schedule):
    denoiser = make_denoiser(schedule)
    samples = HeunSampler(denoiser, 64)(noise((20_000, 1, 3), denoiser, torch.Generator().manual_seed(2)).double())[
        :, 0
    ]
    mean = exact_sample(schedule, torch.zeros(1, 1, 3, dtype=F64), 1.0).flatten()  # the flow is affine
    assert ((samples.mean(0) - mean).abs() < 5 * (VARIANCES / 20_000).sqrt() + 1e-3).all()
    torch.testing.assert_close(samples.var(0), VARIANCES, rtol=0.05, atol=1e-3)


def test_that_the_path_passes_through_every_step_and_ends_at_the_sample():
    schedule, x = EDM(0.01, 50.0), 50 * states()
    sampler = HeunSampler(make_denoiser(schedule), 6)
    path = list(sampler.path(x))
    assert len(path) == 6
    assert torch.equal(path[-1], sampler(x))
    times = sampler.times()
    assert times[0] == 1 and times[-1] == 0 and len(times) == 6
    assert torch.equal(path[0], sampler.step(x, times[0], times[1]))
    assert torch.equal(path[-1], sampler.denoiser(path[-2], times[-1]))


def test_that_one_step_is_the_denoiser():
    denoiser, x = make_denoiser(EDM()), 80 * states()
    assert torch.equal(HeunSampler(denoiser, 1)(x), denoiser(x, 1.0))


def test_that_n_steps_cost_two_n_minus_one_evaluations():
    denoiser, calls = make_denoiser(EDM()), []
    counted = lambda x_t, t: calls.append(t) or denoiser(x_t, t)  # noqa: E731
    counted.schedule = denoiser.schedule
    HeunSampler(counted, 9)(states())
    assert len(calls) == 17


def test_that_the_input_is_left_as_it_was():
    x = states()
    before = x.clone()
    HeunSampler(make_denoiser(EDM()), 4)(x)
    assert torch.equal(x, before)


@every_schedule
@pytest.mark.parametrize("start", [1.0, 0.4])
def test_that_starting_noise_has_the_schedule_s_scale(schedule, start):
    x = noise((1000, 2, 50), make_denoiser(schedule), torch.Generator().manual_seed(4), start)
    sigma = float(schedule.sigma(torch.tensor(start, dtype=F64)))
    assert x.shape == (1000, 2, 50)
    assert float(x.std()) == pytest.approx(sigma, rel=0.01)
    assert abs(float(x.mean())) < 5 * sigma / 100_000**0.5


def test_that_noise_is_the_generator_s_and_nobody_else_s():
    denoiser, before = make_denoiser(EDM()), torch.get_rng_state()
    draw = lambda seed: noise((2, 1, 5), denoiser, torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_that_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        HeunSampler(make_denoiser(EDM()), 0)
