"""Stochastic samplers: exact moments of a Gaussian step by step, limits that are other methods, explicit randomness."""

from functools import partial

import numpy as np
import pytest
import torch
from gaussian_oracles import (
    F64,
    MEAN,
    generator,
    kalman,
    make_denoiser,
    moments,
    noise_moments,
    random_problem,
    relative,
    scales,
    states,
)

from scoreda.diffusion import EDM, GaussianDenoiser, HeunSampler, MomentMatching, VPCosine
from scoreda.diffusion.samplers import (
    SAMPLERS,
    DDIMSampler,
    DDPMSampler,
    EDMSampler,
    EulerMaruyamaSampler,
    PredictorCorrectorSampler,
)
from scoreda.diffusion.schedules import DDPM, VPConstant

METHODS = {
    "ddpm": DDPMSampler,
    "ddpm-beta": partial(DDPMSampler, variance="beta"),
    "ddim-0.5": partial(DDIMSampler, eta=0.5),
    "ddim-1": partial(DDIMSampler, eta=1.0),
    "euler_maruyama-0.5": partial(EulerMaruyamaSampler, amplitude=0.5),
    "euler_maruyama-1": EulerMaruyamaSampler,
    "edm": EDMSampler,
}
SCHEDULES = [EDM(0.01, 50.0), VPCosine()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
every_method = pytest.mark.parametrize("name", METHODS)


def exact_end(schedule):
    """Mean and variances of the exact marginal at t = 0, which `final="none"` should end at."""
    alpha_0, std_0 = scales(schedule, 0.0)
    return alpha_0 * MEAN, std_0**2


def end_moments(sampler, schedule):
    """Moments of what a sampler makes of the exact marginal at t = 1."""
    alpha_1, std_1 = scales(schedule, 1.0)
    mean, cov = moments(sampler, alpha_1 * MEAN, torch.diag(std_1**2))
    return mean, cov.diag()


# Moments.


@every_method
@every_schedule
def test_that_the_variance_converges_at_first_order_and_at_second_with_churn(name, schedule):
    steps, (exact_mean, exact) = np.array([125, 250, 500]), exact_end(schedule)
    errors = []
    for n in steps:
        sampler = METHODS[name](make_denoiser(schedule), n, generator(0), spacing="log_snr", final="none")
        mean, variance = end_moments(sampler, schedule)
        errors.append(float((variance / exact - 1).norm()))
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order == pytest.approx(2 if name == "edm" else 1, abs=0.15)
    assert errors[-1] < 0.1  # about 1 % for each of the three variables at 1000 steps
    torch.testing.assert_close(mean, exact_mean, rtol=0.02, atol=0)


@every_method
def test_that_random_samples_have_the_moments_of_the_exact_recursion(name):
    schedule, number = VPCosine(), 20_000
    alpha_1, std_1 = scales(schedule, 1.0)
    make = lambda: METHODS[name](make_denoiser(schedule), 40, generator(5), spacing="log_snr")
    samples = make()(alpha_1 * MEAN + std_1 * states(6, number))[:, 0]
    mean, variance = end_moments(make(), schedule)
    assert ((samples.mean(0) - mean).abs() < 5 * (variance / number).sqrt()).all()
    assert ((samples.var(0) / variance - 1).abs() < 5 * (2 / number) ** 0.5).all()


@pytest.mark.parametrize("name", ["ddpm", "ddim-0.5", "euler_maruyama-1", "edm"])
def test_that_guided_steps_give_the_kalman_moments(name):
    mean, P, H, y, R = problem = random_problem(1)
    schedule = VPCosine(0.005, 0.001, rho=1.0)
    guided = MomentMatching(GaussianDenoiser(mean, P, schedule), y, lambda x: x[:, 0] @ H.T, R)
    sampler = METHODS[name](guided, 250, generator(0), spacing="log_snr")
    exact_mean, exact_cov = kalman(*problem)
    found_mean, found_cov = moments(sampler, *noise_moments(schedule, len(mean)))
    assert relative(found_cov, exact_cov) < 0.05
    assert relative(found_mean, exact_mean) < 0.005


@pytest.mark.parametrize("steps", [1, 5])
def test_that_the_two_variances_of_ddpm_are_exact_for_a_point_and_for_white_data(steps):
    schedule = VPCosine()
    alpha_0, sigma_0 = (f(torch.zeros((), dtype=F64)) for f in (schedule.alpha, schedule.sigma))
    exact = {"posterior": sigma_0**2, "beta": alpha_0**2 + sigma_0**2}
    for variance, data in (("posterior", 0.0), ("beta", 1.0)):
        denoiser = GaussianDenoiser(torch.zeros(2, dtype=F64), data * torch.eye(2, dtype=F64), schedule)
        sampler = DDPMSampler(denoiser, steps, generator(0), variance, final="none")
        start = schedule.alpha(torch.ones((), dtype=F64)) ** 2 * data + schedule.sigma(torch.ones((), dtype=F64)) ** 2
        cov = moments(sampler, torch.zeros(2, dtype=F64), start * torch.eye(2, dtype=F64))[1]
        torch.testing.assert_close(cov, exact[variance] * torch.eye(2, dtype=F64), rtol=1e-9, atol=1e-12)


# Few steps against many: the posterior of one observation, whose exact denoiser is that of a Gaussian, too.


OBS_STD = torch.tensor([0.1, 0.5, 1.0], dtype=F64)
POSTERIOR_STD = (1 + OBS_STD**-2) ** -0.5


def posterior_std(make, schedule):
    """Spread that a sampler gives three variables with prior N(0, 1), each observed with an error of its own."""
    sampler = make(GaussianDenoiser(torch.zeros(3, dtype=F64), torch.diag(POSTERIOR_STD**2), schedule))
    return moments(sampler, *noise_moments(schedule, 3))[1].diag().sqrt()


def test_that_a_thousand_steps_that_end_at_coarse_noise_lose_the_recorded_spread():
    make = lambda denoiser: EulerMaruyamaSampler(denoiser, 1000, generator(0))
    recorded = torch.tensor([0.080, 0.441, 0.703], dtype=F64)
    found = posterior_std(make, VPConstant(10.0, t_min=1e-3))
    torch.testing.assert_close(found, recorded, rtol=0, atol=6e-4)


def test_that_twenty_heun_steps_are_nearer_than_a_thousand_ancestral_ones():
    heun = posterior_std(lambda denoiser: HeunSampler(denoiser, 20), VPCosine())
    ancestral = posterior_std(lambda denoiser: DDPMSampler(denoiser, 1000, generator(0)), DDPM())
    torch.testing.assert_close(heun, POSTERIOR_STD, rtol=0.007, atol=0)
    assert ((heun - POSTERIOR_STD).abs() < (ancestral - POSTERIOR_STD).abs()).all()


# Methods that are one another.


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_that_a_step_of_ddpm_is_the_one_of_its_paper(variance):
    schedule, x, k = DDPM(), states(), 600
    denoiser, (t, s) = make_denoiser(schedule), schedule.time_of_index(torch.tensor([k, k - 1])).double()
    beta, abar, before = schedule.betas[k], (1 - schedule.betas[: k + 1]).prod(), (1 - schedule.betas[:k]).prod()
    eps = (x - abar.sqrt() * denoiser(x, t)) / (1 - abar).sqrt()
    std = (beta * (1 - before) / (1 - abar) if variance == "posterior" else beta).sqrt()
    z = torch.randn(x.shape, generator=generator(2), dtype=F64)
    by_hand = (x - beta / (1 - abar).sqrt() * eps) / (1 - beta).sqrt() + std * z
    torch.testing.assert_close(DDPMSampler(denoiser, 1000, generator(2), variance).step(x, t, s), by_hand)


@every_schedule
def test_that_ddim_with_eta_one_is_ddpm_with_the_posterior_variance(schedule):
    denoiser, x = make_denoiser(schedule), states()
    ddim, ddpm = DDIMSampler(denoiser, 30, generator(1), eta=1.0), DDPMSampler(denoiser, 30, generator(1))
    torch.testing.assert_close(ddim(x), ddpm(x), rtol=1e-8, atol=1e-8)


def test_that_noise_of_amplitude_zero_leaves_the_ode_and_touches_no_generator():
    denoiser, x = make_denoiser(VPCosine()), states()
    a, b = (EulerMaruyamaSampler(denoiser, 20, g, amplitude=0.0)(x) for g in (None, generator(1)))
    assert torch.equal(a, b)


def test_that_the_step_of_euler_maruyama_is_written_out_by_hand():
    schedule, x, c = EDM(0.01, 50.0), states(), 0.6
    t, s = torch.tensor([0.5, 0.4], dtype=F64)
    growth = (schedule.sigma(t + 1e-5) ** 2 - schedule.sigma(t - 1e-5) ** 2) / 2e-5  # g^2, for alpha is 1
    score = (make_denoiser(schedule)(x, t) - x) / schedule.sigma(t) ** 2
    z = torch.randn(x.shape, generator=generator(3), dtype=F64)
    by_hand = x + (t - s) * (1 + c**2) / 2 * growth * score + c * (growth * (t - s)).sqrt() * z
    found = EulerMaruyamaSampler(make_denoiser(schedule), 9, generator(3), amplitude=c).step(x, t, s)
    torch.testing.assert_close(found, by_hand, rtol=1e-6, atol=1e-6)


def test_that_only_the_last_step_can_be_without_noise():
    denoiser, x = make_denoiser(EDM(0.01, 50.0)), states()
    quiet, ode = (EulerMaruyamaSampler(denoiser, 9, generator(1), c, last_noise=False) for c in (1.0, 0.0))
    t, s, zero = torch.tensor([0.2, 0.1, 0.0], dtype=F64)
    noisy = EulerMaruyamaSampler(denoiser, 9, generator(1))
    assert torch.equal(quiet.step(x, t, s), noisy.step(x, t, s))
    torch.testing.assert_close(quiet.step(x, t, zero) - x, 2 * (ode.step(x, t, zero) - x))  # (1 + c^2) / 2 of it


# Churn.


@every_schedule
def test_that_churn_keeps_the_marginal_and_tells_its_time(schedule):
    sampler, t = EDMSampler(make_denoiser(schedule), 18, generator(1), churn=40.0), torch.tensor(0.6, dtype=F64)
    (alpha_t, std_t), number = scales(schedule, 0.6), 200_000
    x, t_hat = sampler.churned(alpha_t * MEAN + std_t * states(2, number), t)
    alpha_hat, std_hat = scales(schedule, t_hat)
    assert t_hat > t
    assert ((x[:, 0].mean(0) - alpha_hat * MEAN).abs() < 5 * std_hat / number**0.5).all()
    assert ((x[:, 0].var(0) / std_hat**2 - 1).abs() < 5 * (2 / number) ** 0.5).all()


def test_that_churn_follows_the_published_algorithm():
    schedule, x, t = EDM(), states(), torch.tensor(0.6, dtype=F64)
    sampler = EDMSampler(make_denoiser(schedule), 40, generator(7), churn=10.0, inflation=1.003)
    found, t_hat = sampler.churned(x, t)
    raised = 1.25 * schedule.sigma(t)  # gamma = 10 / 40
    torch.testing.assert_close(schedule.sigma(t_hat), raised)
    z = torch.randn(x.shape, generator=generator(7), dtype=F64)
    torch.testing.assert_close(found, x + (raised**2 - schedule.sigma(t) ** 2).sqrt() * 1.003 * z)


@pytest.mark.parametrize(("ratio", "is_churned"), [(0.04, False), (0.06, True), (49.0, True), (51.0, False)])
def test_that_churn_stays_within_its_bounds(ratio, is_churned):
    sampler, t = EDMSampler(make_denoiser(EDM()), 18, generator(7)), EDM().time(torch.tensor(ratio, dtype=F64))
    assert bool(sampler.churned(states(), t)[1] > t) == is_churned


def test_that_churn_is_at_most_a_factor_of_the_root_of_two():
    assert EDMSampler(make_denoiser(EDM()), 18, generator(0), churn=80.0).gamma == pytest.approx(2**0.5 - 1)
    assert EDMSampler(make_denoiser(EDM()), 256, generator(0), churn=40.0).gamma == pytest.approx(40 / 256)


# Predictor and corrector.


def white(n, variance, schedule):
    """White data in so many variables that the norms of the corrector hardly vary."""
    return GaussianDenoiser(torch.zeros(n, dtype=F64), variance * torch.eye(n, dtype=F64), schedule)


@pytest.mark.parametrize("snr", [0.3, 0.7])
@every_schedule
def test_that_the_corrector_alone_settles_at_the_documented_variance(schedule, snr):
    n, t = 500, torch.tensor(0.5, dtype=F64)
    sampler = PredictorCorrectorSampler(white(n, 2.0, schedule), 9, generator(1), snr=snr, corrections=60)
    x = sampler.corrected(torch.randn(100, 1, n, generator=generator(2), dtype=F64), t)
    marginal = 2 * schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2
    assert float(x.var() / marginal) == pytest.approx(1 + snr**2, rel=0.02)


def test_that_the_corrector_s_step_is_that_of_the_paper():
    schedule, x, s = EDM(0.01, 50.0), states(), torch.tensor(0.5, dtype=F64)
    denoiser = make_denoiser(schedule)
    found = PredictorCorrectorSampler(denoiser, 9, generator(4), snr=0.3).corrected(x, s)
    z = torch.randn(x.shape, generator=generator(4), dtype=F64)
    score = (denoiser(x, s) - x) / schedule.sigma(s) ** 2
    for row, g, e, out in zip(x, score, z, found, strict=True):
        h = 2 * (0.3 * e.norm() / g.norm()) ** 2
        torch.testing.assert_close(out, row + h * g + (2 * h).sqrt() * e)


def test_that_no_corrections_leave_the_predictor():
    denoiser, x = make_denoiser(VPCosine()), states()
    for predictor in (EulerMaruyamaSampler, partial(DDIMSampler, eta=0.5), SAMPLERS["dpm_solver"]):
        settings = dict(spacing="log_snr", final="none")
        alone = predictor(denoiser, 20, generator(3), **settings)(x)
        wrapped = PredictorCorrectorSampler(denoiser, 20, generator(3), predictor, corrections=0, **settings)(x)
        assert torch.equal(wrapped, alone)


def test_that_corrections_mend_the_spread_that_a_coarse_predictor_loses():
    schedule, n = VPCosine(), 200
    x = torch.randn(200, 1, n, generator=generator(2), dtype=F64)
    spreads = []
    for corrections in (0, 2):
        make = partial(PredictorCorrectorSampler, predictor=DDIMSampler, snr=0.16, corrections=corrections)
        spreads.append(float(make(white(n, 2.0, schedule), 8, generator(1), spacing="log_snr")(x).var()))
    assert abs(spreads[1] - 2) < abs(spreads[0] - 2) / 2


# Randomness and refusals.

STOCHASTIC = METHODS | {"predictor_corrector": PredictorCorrectorSampler}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_that_the_generator_is_the_only_source_of_randomness(name):
    denoiser, x, before = make_denoiser(VPCosine()), states(), torch.get_rng_state()
    draw = lambda seed: STOCHASTIC[name](denoiser, 12, generator(seed), spacing="log_snr")(x)
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_that_a_stochastic_sampler_refuses_to_do_without_a_generator(name):
    with pytest.raises(ValueError, match=r"adds noise and needs a `generator`, got None\. Pass generator="):
        STOCHASTIC[name](make_denoiser(EDM()))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("ddim", {"eta": 1.5}, "`eta` must be between 0"),
        ("ddpm", {"variance": "posteriori"}, "did you mean 'posterior'"),
        ("euler_maruyama", {"amplitude": -0.1}, "`amplitude` must be between 0"),
        ("edm", {"churn": -1.0}, "`churn` must be at least 0"),
        ("predictor_corrector", {"snr": 0.0}, "need 0 < snr < 1"),
        ("predictor_corrector", {"corrections": -1}, "need 0 < snr < 1"),
    ],
)
def test_that_settings_without_a_method_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        SAMPLERS[kind](make_denoiser(EDM()), 9, generator(0), **settings)
