"""The twisted diffusion sampler against exact posteriors and evidences, within its own Monte-Carlo error."""

import math

import pytest
import torch

from scoreda.diffusion import EDM, GaussianDenoiser, VPCosine
from scoreda.diffusion.guidance.particles import effective_size, systematic
from scoreda.diffusion.guidance.twisted_smc import TwistedSMC

F64 = torch.float64


def start(schedule, particles, n, generator):
    return torch.randn(particles, 1, n, generator=generator, dtype=F64) * schedule.sigma(torch.ones((), dtype=F64))


def particles_of(prior, y, H, R, seed=0, particles=1000, steps=50, **settings):
    g = torch.Generator().manual_seed(seed)
    sampler = TwistedSMC(prior, y, H, R, g, steps, **settings)
    return sampler.run(start(prior.schedule, particles, len(prior.mean), g))


def white(n=1, schedule=None):
    return GaussianDenoiser(torch.zeros(n, dtype=F64), torch.eye(n, dtype=F64), schedule or VPCosine())


def first(x):
    return x[:, 0, :1]


def scalar_run(obs_std, seed, **settings):
    """One observation y = 1 of a white scalar: mean, second moment and evidence as estimated by 1000 particles."""
    result = particles_of(white(), torch.ones(1, dtype=F64), first, obs_std**2, seed, **settings)
    return [float(result.mean()), float(result.mean(torch.square)), math.exp(result.log_evidence)]


def scalar_truth(obs_std):
    weight, total = 1 / (1 + obs_std**2), 1 + obs_std**2
    return torch.tensor([weight, weight * obs_std**2 + weight**2, math.exp(-0.5 / total) / math.sqrt(math.tau * total)])


def assert_within_monte_carlo_error(runs, truth, limit=4.0):
    runs = torch.tensor(runs)
    error, se = runs.mean(0) - truth, runs.std(0) / math.sqrt(len(runs))
    assert (error.abs() < limit * se).all(), f"{error / se} standard errors"
    assert (se < 0.02 * truth.abs()).all(), "the test resolves two per cent"


@pytest.mark.parametrize("obs_std", [0.1, 0.5, 1.0])
def test_that_mean_spread_and_evidence_are_right_within_the_monte_carlo_error(obs_std):
    runs = [scalar_run(obs_std, seed) for seed in range(12)]
    assert_within_monte_carlo_error(runs, scalar_truth(obs_std))


def test_that_the_twist_of_the_paper_is_right_too_where_its_weights_hold():
    runs = [scalar_run(1.0, seed, particles=4000, moments=False) for seed in range(12)]
    assert_within_monte_carlo_error(runs, scalar_truth(1.0))


def test_that_the_last_twist_is_the_likelihood_itself():
    last = 0.5  # angle at t = 0: so much noise is left that the denoised states have a variance of cos(.5)^2
    prior_variance, R = math.cos(last) ** 2, 0.1
    result = particles_of(white(schedule=VPCosine(last)), torch.ones(1, dtype=F64), first, R, particles=4000)
    assert float(result.mean()) == pytest.approx(prior_variance / (prior_variance + R), rel=0.02)
    total = prior_variance + R
    assert result.log_evidence == pytest.approx(-(1 / total + math.log(math.tau * total)) / 2, abs=0.03)


def test_that_it_works_in_the_time_of_any_schedule():
    schedule = EDM(0.002, 80.0)
    mean = particles_of(white(schedule=schedule), torch.ones(1, dtype=F64), first, 0.25, particles=4000).mean()
    assert float(mean) == pytest.approx(0.8, rel=0.02)


def test_that_an_observation_spreads_to_the_correlated_variable():
    prior = GaussianDenoiser(torch.zeros(2, dtype=F64), torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64), VPCosine())
    result = particles_of(prior, torch.ones(1, dtype=F64), first, 0.01, particles=4000, steps=200)
    mean = result.mean()[0]
    std = (result.mean(lambda x: (x - mean) ** 2)[0]).sqrt()
    assert float(mean[1]) == pytest.approx(0.891, rel=0.02)
    assert float(std[1]) == pytest.approx(0.445, rel=0.03)


def full_problem():
    """Three variables, two correlated observations of mixtures of them."""
    H = torch.tensor([[1.0, 0.5, 0.0], [0.0, -1.0, 0.7]], dtype=F64)
    R = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=F64)
    return H, R, torch.tensor([0.7, -0.4], dtype=F64)


def test_that_correlated_errors_give_the_exact_mean_and_evidence():
    H, R, y = full_problem()
    result = particles_of(white(3), y, lambda x: x[:, 0] @ H.T, R, particles=4000)
    S = H @ H.T + R
    evidence = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=F64), S).log_prob(y)
    torch.testing.assert_close(result.mean()[0], H.T @ torch.linalg.solve(S, y), rtol=0, atol=0.03)
    assert result.log_evidence == pytest.approx(float(evidence), abs=0.03)


@pytest.mark.parametrize("moments", [True, False])
def test_that_missing_values_act_as_if_they_were_not_listed(moments):
    H, R, y = full_problem()
    gaps = torch.tensor([torch.nan, y[1]], dtype=F64)
    masked = particles_of(white(3), gaps, lambda x: x[:, 0] @ H.T, R, moments=moments)
    listed = particles_of(white(3), y[1:], lambda x: x[:, 0] @ H[1:].T, R[1:, 1:], moments=moments)
    torch.testing.assert_close(masked.mean(), listed.mean(), rtol=1e-9, atol=1e-9)
    assert masked.log_evidence == pytest.approx(listed.log_evidence, abs=1e-9)


def test_that_without_observations_all_weights_are_equal_and_the_evidence_is_one():
    result = particles_of(white(), torch.full((1,), torch.nan, dtype=F64), first, 0.25)
    torch.testing.assert_close(result.ess, torch.full_like(result.ess, 1000.0))
    assert result.log_evidence == pytest.approx(0, abs=1e-12)


def test_that_the_prior_moves_by_exact_steps_when_it_is_white_with_the_given_spread():
    broad = GaussianDenoiser(torch.zeros(1, dtype=F64), 4 * torch.eye(1, dtype=F64), VPCosine())
    nothing = torch.full((1,), torch.nan, dtype=F64)
    x = particles_of(broad, nothing, first, 1.0, particles=20000, steps=4, spread=2.0).x
    assert float(x.std()) == pytest.approx(2.0, rel=0.02)


def test_that_the_moments_of_the_denoised_state_keep_more_particles_alive():
    sizes = [particles_of(white(), torch.ones(1, dtype=F64), first, 0.04, moments=m).ess.min() for m in (True, False)]
    assert sizes[0] > 5 * sizes[1]


def test_that_resampling_waits_for_the_threshold():
    run = lambda threshold: particles_of(
        white(), torch.ones(1, dtype=F64), first, 1.0, steps=20, moments=False, threshold=threshold
    )
    never, always = run(0.0), run(1.0)
    assert (torch.diff(never.ess) < 0).all(), "weights that are never evened out degenerate"
    assert always.ess[-1] > never.ess[-1]
    assert len(never.ess) == 20


def test_that_equal_draws_have_the_weighted_mean():
    result = particles_of(white(), torch.ones(1, dtype=F64), first, 0.25)
    drawn = result.equal(torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.mean(0), result.mean(), rtol=0, atol=0.02)


def test_that_systematic_resampling_rounds_the_expected_counts():
    weights = torch.rand(50, generator=torch.Generator().manual_seed(2), dtype=F64)
    expected = 50 * weights / weights.sum()
    counts = torch.bincount(systematic(weights.log(), torch.Generator().manual_seed(3)), minlength=50)
    assert ((counts - expected).abs() < 1).all()


def test_that_the_effective_size_runs_from_one_to_all():
    assert float(effective_size(torch.zeros(8))) == pytest.approx(8)
    assert float(effective_size(torch.tensor([0.0, -1000.0]))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [(dict(steps=1), "steps >= 2"), (dict(threshold=1.5), "threshold in"), (dict(), "one vector")],
)
def test_that_bad_settings_are_refused(settings, message):
    y = torch.ones(1, dtype=F64) if settings else torch.ones(3, 1, dtype=F64)
    with pytest.raises(ValueError, match=message):
        TwistedSMC(white(), y, first, 0.25, torch.Generator(), **settings)


def test_that_what_does_not_fit_the_states_is_refused():
    y = torch.ones(1)
    with pytest.raises(ValueError, match="`generator` must be a torch.Generator, got 5"):
        TwistedSMC(white(), y, first, 0.25, 5)
    with pytest.raises(ValueError, match="`steps` must be a whole number, got 9.5"):
        TwistedSMC(white(), y, first, 0.25, torch.Generator(), steps=9.5)
    with pytest.raises(ValueError, match=r"states are torch.float64 .* `y` is torch.float32 .* Pass y=y.to\(x_t\)"):
        TwistedSMC(white(), y, first, 0.25, torch.Generator())(torch.zeros(4, 1, 1, dtype=F64))


def test_that_a_run_away_is_said_to_be_one():
    with pytest.raises(ValueError, match="not finite"):
        particles_of(white(), torch.ones(1, dtype=F64), first, 1e-6, steps=50, moments=False)


class Wild:
    """The denoiser of white data, but far outside it anything, as a network's may be."""

    def __init__(self, prior):
        self.prior, self.schedule, self.mean = prior, prior.schedule, prior.mean

    def __call__(self, x_t, t):
        far = (x_t.abs().flatten(1).amax(1) > 3)[:, None, None]
        return self.prior(x_t, t) * (1 + far.to(x_t) * 1e200)


@pytest.mark.parametrize("moments", [True, False])
def test_that_particles_that_run_away_do_not_end_the_others(moments):
    result = particles_of(Wild(white(2)), torch.ones(1, dtype=F64), first, 1.0, moments=moments)
    assert torch.isfinite(result.x).all()
    assert float(result.mean()[0, 0]) == pytest.approx(0.5, abs=0.1)
