"""ODE samplers: observed order, the affine map of a Gaussian, guidance, and what is the same under every schedule."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from gaussian_oracles import (
    F64,
    exact_sample,
    flow_moments,
    kalman,
    make_denoiser,
    noise_moments,
    random_problem,
    relative,
    states,
)

from scoreda.diffusion import EDM, GaussianDenoiser, HeunSampler, MomentMatching, VPCosine
from scoreda.diffusion.samplers import (
    SPACINGS,
    DDIMSampler,
    DPMSolverSampler,
    EDMSampler,
    EulerMaruyamaSampler,
    EulerSampler,
)
from scoreda.diffusion.schedules import DDPM, VE, RectifiedFlow, SubVP, VPConstant, VPLinear

ORDERS = {
    "euler": (EulerSampler, 1),
    "ddim": (DDIMSampler, 1),
    "heun": (HeunSampler, 2),
    "dpm_solver": (DPMSolverSampler, 2),
}
SCHEDULES = [EDM(0.01, 50.0), VPCosine()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
every_method = pytest.mark.parametrize("name", ORDERS)


def observed_order(sampler, schedule, x, steps=(40, 80, 160), start=1.0):
    """Slope of the error against the exact flow."""
    exact = exact_sample(schedule, x, start)
    errors = [float((sampler(steps=n + 1)(x, start) - exact).norm()) for n in steps]
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def stiff(name, schedule, spacing):
    """Neighbouring steps of VPCosine's own time are too unlike near t = 1 for a multistep method: the next test."""
    return (name, schedule.name, spacing) == ("dpm_solver", "vp_cosine", "uniform")


@pytest.mark.parametrize(
    ("name", "schedule", "spacing"),
    [case for case in product(ORDERS, SCHEDULES, SPACINGS) if not stiff(*case)],
    ids=lambda part: getattr(part, "name", part),
)
def test_that_every_ode_sampler_has_its_order(name, schedule, spacing):
    method, order = ORDERS[name]
    x = states() * float(schedule.sigma(torch.ones((), dtype=F64)))
    sampler = partial(method, make_denoiser(schedule), spacing=spacing)
    assert observed_order(sampler, schedule, x) == pytest.approx(order, abs=0.15)


def test_that_the_multistep_method_reaches_its_order_below_the_noisy_end_of_vp_cosine():
    schedule, start = VPCosine(), 0.9
    sampler = partial(DPMSolverSampler, make_denoiser(schedule), spacing="uniform")
    assert observed_order(sampler, schedule, states(), start=start) == pytest.approx(2, abs=0.15)


ALIKE = [EDM(0.005), VE(0.005), VPCosine(0.005), VPLinear(), VPConstant(), SubVP(), DDPM(), RectifiedFlow()]


@pytest.mark.parametrize("name", ["heun", "dpm_solver"])
@pytest.mark.parametrize("schedule", ALIKE, ids=lambda s: s.name)
def test_that_the_order_is_the_same_under_every_schedule(name, schedule):
    method, order = ORDERS[name]
    x = states() * float(schedule.sigma(torch.ones((), dtype=F64)))
    sampler = partial(method, make_denoiser(schedule), spacing="log_snr")
    assert observed_order(sampler, schedule, x) == pytest.approx(order, abs=0.15)


# The affine map: zero and the unit vectors give the whole distribution of samples.

COSINE = VPCosine(0.005, 0.001, rho=1.0)
seeds = pytest.mark.parametrize("seed", [0, 1])


def posterior_errors(method, problem, schedule=COSINE, steps=256, guided=True, start=None):
    """Errors of mean and covariance relative to Kalman's (or the prior's), from the sampler's own noise or `start`."""
    mean, P, H, y, R = problem
    denoiser = GaussianDenoiser(mean, P, schedule)
    if guided:
        denoiser = MomentMatching(denoiser, y, lambda x: x[:, 0] @ H.T, R)
        mean, P = kalman(*problem)
    found_mean, found_cov = flow_moments(method(denoiser, steps), *(start or noise_moments(schedule, len(mean))))
    return relative(found_mean, mean), relative(found_cov, P)


@every_method
@seeds
@pytest.mark.parametrize("guided", [False, True], ids=["prior", "guided"])
def test_that_256_steps_give_the_covariance_of_the_gaussian(name, seed, guided):
    method, order = ORDERS[name]
    assert posterior_errors(method, random_problem(seed), guided=guided)[1] < {1: 2e-2, 2: 1e-3}[order]


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm_solver"])
@seeds
def test_that_a_start_at_the_posterior_mean_stays_there_in_any_number_of_steps(name, seed):
    problem = random_problem(seed)
    mean = kalman(*problem)[0]
    start = COSINE.alpha(torch.ones((), dtype=F64)) * mean, torch.zeros(8, 8, dtype=F64)
    assert posterior_errors(ORDERS[name][0], problem, steps=5, start=start)[0] < 1e-5


@pytest.mark.parametrize("schedule", ALIKE, ids=lambda s: s.name)
def test_that_every_schedule_gives_the_same_guided_posterior(schedule):
    problem = random_problem(4)
    mean, cov = kalman(*problem)
    alpha_1, sigma_1 = (f(torch.ones((), dtype=F64)) for f in (schedule.alpha, schedule.sigma))
    start = alpha_1 * mean, alpha_1**2 * cov + sigma_1**2 * torch.eye(8, dtype=F64)
    method = partial(HeunSampler, spacing="log_snr")
    mean_error, cov_error = posterior_errors(method, problem, schedule, steps=128, start=start)
    assert mean_error < 1e-5 and cov_error < 4e-3


# Methods that are one another.


def test_that_ddim_is_the_first_order_exponential_integrator():
    denoiser, x = make_denoiser(VPCosine()), states()
    t, s = torch.tensor(0.6, dtype=F64), torch.tensor(0.4, dtype=F64)
    torch.testing.assert_close(DDIMSampler(denoiser).step(x, t, s), DPMSolverSampler(denoiser).step(x, t, s))


@every_schedule
def test_that_the_exponential_integrator_solves_a_constant_estimate_exactly(schedule):
    x = states()
    constant = lambda x_t, t: torch.full_like(x_t, 0.7)
    constant.schedule = schedule
    out = DPMSolverSampler(constant, 5, final="none")(x)
    alpha, sigma = (f(torch.tensor([1.0, 0.0], dtype=F64)) for f in (schedule.alpha, schedule.sigma))
    exact = 0.7 * alpha[1] + sigma[1] / sigma[0] * (x - 0.7 * alpha[0])
    torch.testing.assert_close(out, exact)


@every_schedule
def test_that_euler_maruyama_without_noise_is_euler_s_method(schedule):
    denoiser, x = make_denoiser(schedule), states()
    torch.testing.assert_close(
        EulerMaruyamaSampler(denoiser, 50, amplitude=0.0)(x), EulerSampler(denoiser, 50)(x), rtol=1e-9, atol=1e-9
    )


@every_schedule
def test_that_the_stochastic_sampler_of_edm_without_churn_is_heun_s_to_the_bit(schedule):
    denoiser, x = make_denoiser(schedule), states()
    assert torch.equal(EDMSampler(denoiser, 12, churn=0.0)(x), HeunSampler(denoiser, 12)(x))


def test_that_euler_s_method_on_straight_lines_mixes_the_state_with_the_denoised_one():
    straight = EDM()
    straight.alpha, straight.sigma = lambda t: 1 - t, lambda t: t
    denoiser = lambda x_t, t: x_t.tanh()
    denoiser.schedule = straight
    x, (t, s) = states(), torch.tensor([0.8, 0.6], dtype=F64)
    mixed = x + (t - s) / t * (x.tanh() - x)
    torch.testing.assert_close(EulerSampler(denoiser).step(x, t, s), mixed)


def test_that_a_step_of_heun_is_written_out_by_hand():
    schedule, x = VPCosine(), states()
    denoiser = make_denoiser(schedule)
    t, s = torch.tensor([0.7, 0.5], dtype=F64)
    slope = lambda u, t: (u - schedule.alpha(t) * denoiser(u, t)) / schedule.sigma(t)
    d_alpha, d_sigma = schedule.alpha(s) - schedule.alpha(t), schedule.sigma(s) - schedule.sigma(t)
    guess = x + d_alpha * denoiser(x, t) + d_sigma * slope(x, t)
    by_hand = x + d_alpha / 2 * (denoiser(x, t) + denoiser(guess, s)) + d_sigma / 2 * (slope(x, t) + slope(guess, s))
    torch.testing.assert_close(HeunSampler(denoiser).step(x, t, s), by_hand)
