"""Noise schedules: published formulae, inverses, and settings that are refused."""

import math
import warnings

import numpy as np
import pytest
import torch

from scoreda.diffusion import EDM, VPCosine
from scoreda.diffusion.schedules import (
    DDPM,
    SCHEDULES,
    VE,
    RectifiedFlow,
    SubVP,
    TerminalSignalWarning,
    VPConstant,
    VPLinear,
    diffusion,
    drift,
    expand,
    log_snr,
    noised,
    noised_stepwise,
    ratio,
    schedule_from_spec,
    transition,
)
from scoreda.diffusion.training.levels import log_normal_sigma
from scoreda.errors import ScoredaError

F64 = torch.float64
TIMES = torch.linspace(0, 1, 101, dtype=F64)
MADE = {
    "edm": EDM(),
    "edm, other settings": EDM(0.01, 300.0, 3.0),
    "vp_cosine": VPCosine(),
    "vp_cosine, other settings": VPCosine(0.02, 0.01, 1.0),
    "vp_linear": VPLinear(),
    "vp_linear, other settings": VPLinear(0.5, 15.0, 1e-3),
    "vp_constant": VPConstant(),
    "vp_constant, other settings": VPConstant(12.0, 1e-3),
    "sub_vp": SubVP(),
    "ve": VE(),
    "rectified_flow": RectifiedFlow(),
    "ddpm": DDPM(),
    "ddpm, squared cosine": DDPM("squared_cosine", 200),
    "ddpm, own betas": DDPM([0.001, 0.2, 0.05, 0.9, 0.8, 0.95]),
}
every_schedule = pytest.mark.parametrize("schedule", MADE.values(), ids=MADE.keys())


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_that_every_schedule_is_under_test():
    assert {schedule.name for schedule in MADE.values()} == set(SCHEDULES)


@every_schedule
def test_that_time_inverts_the_ratio_of_noise_to_signal(schedule):
    ratio = schedule.sigma(TIMES) / schedule.alpha(TIMES)
    torch.testing.assert_close(schedule.time(ratio), TIMES, rtol=1e-9, atol=1e-9)


@every_schedule
def test_that_a_ratio_beyond_the_ends_has_the_schedule_go_on_there(schedule):
    ends = schedule.sigma(TIMES[[0, -1]]) / schedule.alpha(TIMES[[0, -1]])
    beyond = ends * torch.tensor([0.9, 1.1], dtype=F64)
    t = schedule.time(beyond)
    assert float(t[0]) < 0 and float(t[1]) > 1
    torch.testing.assert_close(schedule.sigma(t) / schedule.alpha(t), beyond)


@every_schedule
def test_that_noise_grows_and_signal_to_noise_falls_with_time(schedule):
    sigma, alpha = schedule.sigma(TIMES), schedule.alpha(TIMES)
    assert float(sigma[0]) > 0
    assert (sigma.diff() > 0).all()
    assert ((alpha / sigma).diff() < 0).all()
    assert float(alpha[0] / sigma[0]) > 9 > 1 > float(alpha[-1] / sigma[-1])


@every_schedule
def test_that_single_precision_is_kept_and_is_close(schedule):
    for quantity in (schedule.alpha, schedule.sigma):
        found = quantity(TIMES.float())
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), quantity(TIMES), rtol=2e-3, atol=1e-6)


@every_schedule
def test_that_a_schedule_is_rebuilt_from_its_spec(schedule):
    again = schedule_from_spec(schedule.spec())
    assert type(again) is type(schedule)
    assert again.spec() == schedule.spec()
    assert torch.equal(again.sigma(TIMES), schedule.sigma(TIMES))


# Steps between times.


@every_schedule
def test_that_steps_of_mean_and_variance_add_up_to_the_closed_form(schedule):
    mean, variance = schedule.alpha(TIMES[0]), schedule.sigma(TIMES[0]) ** 2
    for s, t in zip(TIMES[:-1], TIMES[1:], strict=True):
        factor, std = transition(schedule, s, t)
        mean, variance = factor * mean, factor**2 * variance + std**2
    torch.testing.assert_close(mean, schedule.alpha(TIMES[-1]))
    torch.testing.assert_close(variance, schedule.sigma(TIMES[-1]) ** 2)


@every_schedule
def test_that_noise_added_stepwise_has_the_moments_of_the_closed_form(schedule):
    n, times = 40_000, TIMES[::20]
    x = torch.tensor([2.0, -1.0], dtype=F64).expand(n, 2)
    states = noised_stepwise(schedule, x, times, generator(0))
    assert states.shape == (6, n, 2)
    for t, state in zip(times, states, strict=True):
        alpha_t, sigma_t = float(schedule.alpha(t)), float(schedule.sigma(t))
        errors = (state.mean(0) - alpha_t * x[0]) / sigma_t * math.sqrt(n)
        assert float(errors.abs().max()) < 5
        assert float((state.var(0) / sigma_t**2 - 1).abs().max()) < 5 * math.sqrt(2 / n)


def test_that_closed_noise_is_signal_plus_noise_row_by_row():
    x, eps, t = torch.ones(2, 1, 3, dtype=F64), torch.full((2, 1, 3), 2.0, dtype=F64), TIMES[[30, 80]]
    found = noised(VPCosine(), x, t, eps)
    expected = VPCosine().alpha(t) + 2 * VPCosine().sigma(t)
    torch.testing.assert_close(found, expected[:, None, None].expand(2, 1, 3))


@every_schedule
def test_that_ratio_and_log_snr_are_the_same_number(schedule):
    s = ratio(schedule, TIMES, torch.zeros(101, 4))[1]
    assert s.shape == (101, 1)
    torch.testing.assert_close(log_snr(schedule, TIMES), -2 * s[:, 0].log())


# Published equations. The clock u of a paper runs from t_min at t = 0 to 1 at t = 1.

U = 0.001 + 0.999 * TIMES
BETA = 0.1 + U * 19.9
B = 0.1 * U + 19.9 * U**2 / 2
SPAN = 1 - 0.001 - 0.002
PUBLISHED = {  # f and g^2 with respect to u, and du / dt
    "vp_linear": (VPLinear(0.1, 20.0, t_min=0.001), -BETA / 2, BETA, 0.999),
    "vp_constant": (VPConstant(10.0, t_min=0.001), -5 + 0 * U, 10 + 0 * U, 0.999),
    "sub_vp": (SubVP(0.1, 20.0, t_min=0.001), -BETA / 2, BETA * (1 - torch.exp(-2 * B)), 0.999),
    "ve": (VE(0.01, 50.0), 0 * U, (0.01 * 5000**TIMES) ** 2 * 2 * math.log(5000), 1.0),
    "rectified_flow": (
        RectifiedFlow(0.001, 0.002),
        -1 / (0.002 + SPAN * (1 - TIMES)),
        2 * (0.001 + SPAN * TIMES) / (0.002 + SPAN * (1 - TIMES)),
        SPAN,
    ),
    "edm": (EDM(0.01, 80.0, rho=1.0), 0 * U, 2 * (0.01 + 79.99 * TIMES), 79.99),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_that_drift_and_diffusion_are_those_of_the_published_equation(name):
    schedule, f, g_squared, du_dt = PUBLISHED[name]
    torch.testing.assert_close(drift(schedule, TIMES), f * du_dt)
    torch.testing.assert_close(diffusion(schedule, TIMES) ** 2, g_squared * du_dt)


def test_that_vp_cosine_turns_at_the_speed_of_its_angle():
    schedule = VPCosine(0.01, 0.001, rho=1.0)
    speed = math.pi / 2 - 0.011
    tan = torch.tan(0.01 + speed * TIMES)
    torch.testing.assert_close(drift(schedule, TIMES), -speed * tan)
    torch.testing.assert_close(diffusion(schedule, TIMES) ** 2, 2 * speed * tan)


def test_that_drift_and_diffusion_of_ddpm_are_constant_rates_between_steps():
    schedule = DDPM([0.1, 0.3, 0.999])
    rates = -2 * torch.tensor([0.7, 0.001], dtype=F64).log()
    t = torch.tensor([0.2, 0.9], dtype=F64)
    torch.testing.assert_close(drift(schedule, t), -rates / 2)
    torch.testing.assert_close(diffusion(schedule, t) ** 2, rates)


def ornstein_uhlenbeck(beta_start, beta_end, steps):
    """Signal and noise of the constant-rate tutorial, by its recursion over steps."""
    decay, variance, decays, stds = 1.0, 0.0, [], []
    for beta in np.linspace(beta_start, beta_end, steps):
        shrink = math.exp(-beta / 2 / steps)
        decay, variance = shrink * decay, shrink**2 * variance + 1 - shrink**2
        decays.append(decay)
        stds.append(math.sqrt(variance))
    return torch.tensor(decays, dtype=F64), torch.tensor(stds, dtype=F64)


@pytest.mark.parametrize(("beta_start", "beta_end"), [(10.0, 10.0), (0.1, 20.0)])
def test_that_ddpm_steps_reproduce_the_tables_of_the_constant_rate_tutorial(beta_start, beta_end):
    decays, stds = ornstein_uhlenbeck(beta_start, beta_end, 1000)
    schedule = DDPM(-np.expm1(-np.linspace(beta_start, beta_end, 1000) / 1000))
    t = schedule.time_of_index(torch.arange(1000, dtype=F64))
    torch.testing.assert_close(schedule.alpha(t), decays, rtol=1e-10, atol=0)
    torch.testing.assert_close(schedule.sigma(t), stds, rtol=1e-10, atol=0)


def test_that_the_constant_rate_reproduces_the_same_tables_on_a_thousand_uniform_times():
    decays, stds = ornstein_uhlenbeck(10.0, 10.0, 1000)
    schedule, t = VPConstant(10.0, t_min=1 / 1000), torch.linspace(0, 1, 1000, dtype=F64)
    torch.testing.assert_close(schedule.alpha(t), decays, rtol=1e-10, atol=0)
    torch.testing.assert_close(schedule.sigma(t), stds, rtol=1e-10, atol=0)


def test_that_the_constant_rate_has_the_recorded_numbers():
    schedule, t = VPConstant(10.0), torch.tensor([0.0, 1 / 1000, 0.069, 1.0], dtype=F64)
    alpha, sigma = schedule.alpha(t).tolist(), schedule.sigma(t).tolist()
    assert sigma[0] == pytest.approx(math.sqrt(10 * 1e-6), rel=1e-4)
    assert sigma[1] == pytest.approx(0.0998, abs=5e-5)
    assert (alpha[2] / sigma[2]) ** 2 == pytest.approx(1.0, abs=0.01)
    assert alpha[3] == pytest.approx(math.exp(-5), rel=1e-9)


def test_that_the_linear_rate_has_the_recorded_signal_and_noise():
    schedule, t = VPLinear(), torch.tensor([0.4, 0.5, 1.0], dtype=F64)
    assert schedule.alpha(t)[:2].tolist() == pytest.approx([0.442, 0.281], abs=6e-4)
    assert float(schedule.sigma(t[2]) / schedule.alpha(t[2])) == pytest.approx(152, abs=0.5)
    assert float(schedule.sigma(TIMES[0])) == pytest.approx(0.001, rel=0.01)


def test_that_sub_vp_has_the_square_of_the_noise_of_vp_and_its_signal():
    sub, vp = SubVP(0.1, 20.0, 1e-3), VPLinear(0.1, 20.0, 1e-3)
    torch.testing.assert_close(sub.sigma(TIMES), vp.sigma(TIMES) ** 2)
    torch.testing.assert_close(sub.alpha(TIMES), vp.alpha(TIMES))


def test_that_a_straight_path_weighs_signal_and_noise_to_one():
    schedule = RectifiedFlow(0.01, 0.02)
    torch.testing.assert_close(schedule.alpha(TIMES) + schedule.sigma(TIMES), torch.ones_like(TIMES))
    assert float(schedule.sigma(TIMES[0])) == pytest.approx(0.01)
    assert float(schedule.alpha(TIMES[-1])) == pytest.approx(0.02)


# The steps of DDPM.


@pytest.mark.parametrize("betas", ["linear", "squared_cosine"])
def test_that_steps_of_ddpm_are_the_products_of_its_betas(betas):
    schedule = DDPM(betas, 50, beta_max=0.4)
    abar = torch.cumprod(1 - schedule.betas, 0)
    t = schedule.time_of_index(torch.arange(50, dtype=F64))
    torch.testing.assert_close(schedule.alpha(t) ** 2, abar, rtol=1e-10, atol=0)
    factor, std = transition(schedule, t[:-1], t[1:])
    torch.testing.assert_close(factor**2, 1 - schedule.betas[1:], rtol=1e-10, atol=0)
    torch.testing.assert_close(std**2, schedule.betas[1:], rtol=1e-8, atol=0)


def test_that_the_squared_cosine_is_the_published_one():
    f = lambda k: math.cos((k / 100 + 0.008) / 1.008 * math.pi / 2) ** 2
    schedule = DDPM("squared_cosine", 100)
    assert float(schedule.alpha(schedule.time_of_index(torch.tensor(59))) ** 2) == pytest.approx(f(60) / f(0), rel=1e-6)
    assert float(schedule.betas.max()) == 0.999


def test_that_ddpm_is_geometric_between_steps():
    schedule, half = DDPM([0.1, 0.3, 0.999]), torch.tensor([0.25, 0.75], dtype=F64)
    abar = torch.cumprod(1 - schedule.betas, 0)
    torch.testing.assert_close(schedule.alpha(half) ** 2, (abar[:-1] * abar[1:]).sqrt())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_that_index_and_time_invert_each_other(dtype):
    schedule, index = DDPM(), torch.arange(1000)
    t = schedule.time_of_index(index).to(dtype)
    assert torch.equal(schedule.index(t), index)
    back = schedule.time(schedule.sigma(t) / schedule.alpha(t))
    assert torch.equal(schedule.index(back), index)
    assert torch.equal(schedule.index(torch.tensor([-0.1, 1.2])), torch.tensor([0, 999]))


@pytest.mark.parametrize("settings", [dict(steps=300), dict(betas="linear", beta_min=0.001, beta_max=0.004)])
def test_that_too_little_noise_at_the_end_is_warned_of(settings):
    left = {300: 0.219, None: 0.286}[settings.get("steps")]
    with pytest.warns(TerminalSignalWarning, match="Raise `steps`"):
        schedule = DDPM(**settings)
    assert float(schedule.alpha(TIMES[-1])) == pytest.approx(left, abs=6e-4)


@pytest.mark.parametrize(
    ("kind", "settings", "fix"),
    [
        (EDM, (0.01, 5.0), "sigma_max"), (VE, (0.01, 5.0), "sigma_max"), (VPLinear, (0.1, 5.0), "beta_max"),
        (VPConstant, (3.0,), "beta"), (SubVP, (0.1, 5.0), "beta_max"), (VPCosine, (0.01, 0.2), "margin"),
        (RectifiedFlow, (0.01, 0.1), "margin"),
    ],
)  # fmt: skip
def test_that_every_schedule_warns_of_signal_left_at_its_end_and_names_the_fix(kind, settings, fix):
    with pytest.warns(TerminalSignalWarning, match=rf"schedule '{kind.name}' .*`{fix}`") as caught:
        kind(*settings)
    assert caught[0].filename == __file__


def test_that_no_default_leaves_signal_at_its_end():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in SCHEDULES.values():
            kind()


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


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (VPLinear, (3.0, 1.0), "0 <= beta_min <= beta_max"), (VPLinear, (0.1, math.inf), "beta_max=inf"),
        (VPLinear, (0.1, 20.0, 0.0), "0 < t_min < 1"), (VPConstant, (0.0,), "beta_max > 0"),
        (SubVP, (-0.1, 20.0), "beta_min=-0.1"), (VE, (50.0, 0.01), "sigma_min < sigma_max"),
        (VE, (0.01, math.inf), "both finite"), (RectifiedFlow, (0.0,), "t_min > 0"),
        (RectifiedFlow, (0.5, 0.5), r"t_min \+ margin < 1"), (DDPM, ([0.5],), "`steps` >= 2"),
        (DDPM, ([0.5, 0.9], 3), "steps=3"), (DDPM, ([0.1, 1.0],), "between 0 and 1, got 0.1 to 1"),
        (DDPM, ("linear", 1), "`steps` >= 2"), (VPLinear, ("0.1", 20), "`beta_min` must be a number, got '0.1'. Pass"),
        (EDM, (None,), "`sigma_min` must be a number"), (VE, (0.01, "50"), "`sigma_max` must be a number, got '50'"),
        (VPCosine, ("0.01",), "`theta_min` must be"), (RectifiedFlow, ("0",), "`t_min` must be"),
        (DDPM, ("linear", 10, "0.1"), "`beta_min` must be"),
    ],
)  # fmt: skip
def test_that_settings_without_a_schedule_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(*settings)


def test_that_unknown_betas_are_answered_with_the_nearest_name():
    with pytest.raises(ScoredaError, match="did you mean 'squared_cosine'"):
        DDPM("square_cosine")


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
