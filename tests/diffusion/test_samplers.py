"""Samplers: what all of them share, and Heun's method on a Gaussian, where every step has a closed form."""

import warnings

import numpy as np
import pytest
import torch
from gaussian_oracles import F64, MEAN, VARIANCES, exact_sample, generator, make_denoiser, states, transported

from scoreda.diffusion import EDM, HeunSampler, VPCosine, noise
from scoreda.diffusion.samplers import SAMPLERS, SPACINGS, DDIMSampler, DPMSolverSampler, EulerSampler, sampler_by_name
from scoreda.diffusion.schedules import TerminalSignalWarning
from scoreda.errors import ScoredaError

SCHEDULES = [EDM(0.01, 50.0), VPCosine()]
DETERMINISTIC = [DDIMSampler, DPMSolverSampler, EulerSampler, HeunSampler]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
every_spacing = pytest.mark.parametrize("spacing", SPACINGS)
any_start = pytest.mark.filterwarnings("ignore::scoreda.diffusion.schedules.TerminalSignalWarning")
deterministic = pytest.mark.parametrize("method", DETERMINISTIC, ids=lambda m: m.__name__)


@any_start
@every_schedule
@pytest.mark.parametrize("start", [1.0, 0.5])
def test_that_heun_converges_at_second_order(schedule, start):
    x = noise((4, 1, 3), make_denoiser(schedule), generator(1), start).double()
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
    samples = HeunSampler(denoiser, 64)(noise((20_000, 1, 3), denoiser, generator(2)).double())[:, 0]
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


def test_that_heun_costs_two_n_minus_one_evaluations_and_a_multistep_method_n():
    denoiser, calls = make_denoiser(EDM()), []
    counted = lambda x_t, t: calls.append(t) or denoiser(x_t, t)
    counted.schedule = denoiser.schedule
    HeunSampler(counted, 9)(states())
    assert len(calls) == 17
    calls.clear()
    DPMSolverSampler(counted, 9)(states())
    assert len(calls) == 9


def test_that_the_input_is_left_as_it_was():
    x = states()
    before = x.clone()
    HeunSampler(make_denoiser(EDM()), 4)(x)
    assert torch.equal(x, before)


def test_that_pure_noise_where_signal_is_missing_is_warned_of():
    denoiser = make_denoiser(VPCosine())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for start in (1.0, 0.99):
            noise((2, 1, 3), denoiser, generator(0), start)
    with pytest.warns(TerminalSignalWarning, match="start = 0.5 lacks .* alpha / sigma = .*noised"):
        noise((2, 1, 3), denoiser, generator(0), 0.5)
    with pytest.raises(ValueError, match="must be a torch.Generator, got 7"):
        noise((2, 1, 3), denoiser, 7)


@any_start
@every_schedule
@pytest.mark.parametrize("start", [1.0, 0.4])
def test_that_starting_noise_has_the_schedule_s_scale(schedule, start):
    x = noise((1000, 2, 50), make_denoiser(schedule), generator(4), start)
    sigma = float(schedule.sigma(torch.tensor(start, dtype=F64)))
    assert x.shape == (1000, 2, 50)
    assert float(x.std()) == pytest.approx(sigma, rel=0.01)
    assert abs(float(x.mean())) < 5 * sigma / 100_000**0.5


def test_that_noise_is_the_generator_s_and_nobody_else_s():
    denoiser, before = make_denoiser(EDM()), torch.get_rng_state()
    draw = lambda seed: noise((2, 1, 5), denoiser, generator(seed))
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_that_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        HeunSampler(make_denoiser(EDM()), 0)


# Ends, spacings and what is kept on the way.


def test_that_without_a_final_denoising_the_last_step_is_the_method_s_own():
    denoiser, x = make_denoiser(EDM(0.01, 50.0)), 50 * states()
    sampler = HeunSampler(denoiser, 6, final="none")
    times, path = sampler.times(), list(sampler.path(x))
    assert len(times) == 7 and len(path) == 6
    assert torch.equal(path[-1], sampler.step(path[-2], times[-2], times[-1]))
    longer = HeunSampler(denoiser, 7)(x)
    assert torch.equal(longer, denoiser(path[-1], times[-1]))


@every_spacing
@every_schedule
@pytest.mark.parametrize("start", [1.0, 0.4])
def test_that_a_spacing_falls_from_the_start_to_zero(schedule, spacing, start):
    times = HeunSampler(make_denoiser(schedule), 9, spacing=spacing).times(start)
    assert len(times) == 9
    assert float(times[0]) == start and float(times[-1]) == 0
    assert (times.diff() < 0).all()
    assert HeunSampler(make_denoiser(schedule), 1, spacing=spacing).times(start).tolist() == [start]


@every_schedule
@pytest.mark.parametrize(("spacing", "scale"), [("log_snr", torch.log), ("karras", lambda s: s ** (1 / 7))])
def test_that_a_spacing_is_uniform_in_what_it_says(schedule, spacing, scale):
    times = HeunSampler(make_denoiser(schedule), 9, spacing=spacing).times()
    steps = scale(schedule.sigma(times) / schedule.alpha(times)).diff()
    torch.testing.assert_close(steps, steps.mean().expand(8), rtol=1e-8, atol=1e-8)


def test_that_edm_s_own_time_is_the_spacing_of_karras():
    own, karras = (HeunSampler(make_denoiser(EDM()), 18, spacing=name).times() for name in ("uniform", "karras"))
    torch.testing.assert_close(own, karras, rtol=0, atol=1e-12)


def test_that_a_spacing_may_be_a_user_s_own():
    times = torch.tensor([1.0, 0.7, 0.1, 0.0], dtype=F64)
    sampler = HeunSampler(make_denoiser(EDM()), 4, spacing=lambda schedule, start, number: times)
    assert torch.equal(sampler.times(), times)


def test_that_a_spacing_in_the_ratio_needs_noise_at_the_end():
    clean = EDM()
    clean.sigma = lambda t: t
    with pytest.raises(ValueError, match="must be positive at t = 0.*Start lower, or use spacing='uniform'"):
        HeunSampler(make_denoiser(clean), 9, spacing="log_snr").times()


@pytest.mark.parametrize("final", ["denoise", "none"])
def test_that_a_trace_holds_the_states_nearest_to_the_times_asked_for(final):
    sampler, x = HeunSampler(make_denoiser(EDM(0.01, 50.0)), 5, final=final), 50 * states()
    path, times = list(sampler.path(x)), sampler.times()
    traced = sampler.trace(x, [0.0, 1.0, float(times[2]) + 0.01])
    torch.testing.assert_close(traced, torch.stack([path[-1], x, path[1]]), rtol=0, atol=0)


@deterministic
def test_that_a_member_does_not_depend_on_the_batch(method):
    sampler, x = method(make_denoiser(VPCosine()), 12), states()
    alone = torch.cat([sampler(row[None]) for row in x])
    torch.testing.assert_close(sampler(x), alone, rtol=1e-12, atol=1e-12)


@deterministic
def test_that_two_interleaved_paths_do_not_share_a_memory(method):
    sampler, (x, z) = method(make_denoiser(EDM(0.01, 50.0)), 8), (50 * states(1), 50 * states(2))
    for (a, b), c in zip(zip(sampler.path(x), sampler.path(z), strict=True), list(sampler.path(x)), strict=True):
        assert torch.equal(a, c) and not torch.equal(a, b)


def test_that_a_progress_bar_changes_nothing():
    denoiser, x = make_denoiser(EDM()), states()
    assert torch.equal(HeunSampler(denoiser, 3, progress=True)(x), HeunSampler(denoiser, 3)(x))


# Names and refusals.


def test_that_every_sampler_is_made_alike_by_its_name():
    denoiser, x = make_denoiser(VPCosine()), states()
    for name in SAMPLERS:
        sampler = sampler_by_name(name)(denoiser, 40, generator(0), spacing="log_snr", final="none")
        assert len(sampler.times()) == 41
        assert torch.isfinite(sampler(x)).all()


@pytest.mark.parametrize(("name", "near"), [("huen", "heun"), ("dpmsolver", "dpm_solver"), ("ddpn", "ddpm")])
def test_that_an_unknown_sampler_is_answered_with_the_nearest_name(name, near):
    with pytest.raises(ScoredaError, match=f"did you mean '{near}'"):
        sampler_by_name(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spacing": "logsnr"}, "unknown spacing 'logsnr'; did you mean 'log_snr'"),
        ({"steps": 5.5}, "`steps` must be a whole number, got 5.5. Pass an int"),
        ({"generator": 3}, "`generator` must be a torch.Generator, got 3. Pass generator=torch.Generator"),
        ({"final": "denoised"}, "must be 'denoise' or 'none', got 'denoised'"),
    ],
)
def test_that_unknown_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        HeunSampler(make_denoiser(EDM()), **settings)


@pytest.mark.parametrize("start", [0.0, 1.5])
def test_that_a_start_at_the_data_or_beyond_noise_is_refused(start):
    with pytest.raises(ValueError, match=f"above 0, where the data are, and at most 1, where noise is, got {start}"):
        HeunSampler(make_denoiser(EDM()))(states(), start=start)


def test_that_samples_that_are_not_finite_are_warned_of():
    x = states()
    x[1, 0, 0] = torch.nan
    with pytest.warns(RuntimeWarning, match=f"1 of {len(x)} samples are not finite"):
        HeunSampler(make_denoiser(EDM()), 2)(x)
