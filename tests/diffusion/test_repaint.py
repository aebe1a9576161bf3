"""Inpainting by replacement against exact Gaussian conditionals, and how its bias falls with resampling."""

import numpy as np
import pytest
import torch

from scoreda.diffusion import EDM, CirculantGaussian, GaussianDenoiser, VPCosine
from scoreda.diffusion.guidance.repaint import RePaint

F64, NAN = torch.float64, float("nan")
PAIR = GaussianDenoiser(torch.zeros(2, dtype=F64), torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64), VPCosine())


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, denoiser):
        self.denoiser, self.schedule, self.calls = denoiser, denoiser.schedule, 0

    def __call__(self, x_t, t):
        self.calls += 1
        return self.denoiser(x_t, t)


def inpainted(prior, y, members=4000, steps=100, seed=0, **settings):
    g = torch.Generator().manual_seed(seed)
    y = torch.tensor([y], dtype=F64)
    x = torch.randn(members, *y.shape, generator=g, dtype=F64) * prior.schedule.sigma(torch.ones((), dtype=F64))
    return RePaint(prior, y, steps, g, **settings)(x)[:, 0]


def test_that_known_values_are_kept_to_the_bit():
    out = inpainted(PAIR, [1.0, NAN], members=5, steps=10, jump=3)
    assert (out[:, 0] == 1).all()
    assert len(out[:, 1].unique()) == 5


def test_that_thirty_resamplings_fill_in_the_exact_conditional():
    out = inpainted(PAIR, [1.0, NAN], resamplings=30)[:, 1]
    assert float(out.mean()) == pytest.approx(0.9, abs=0.03)
    assert float(out.std()) == pytest.approx(0.436, abs=0.03)


@pytest.mark.parametrize("jump", [1, 10])
def test_that_the_bias_falls_with_the_number_of_resamplings(jump):
    biases = [0.9 - float(inpainted(PAIR, [1.0, NAN], jump=jump, resamplings=n)[:, 1].mean()) for n in (1, 3, 10)]
    assert biases[0] == pytest.approx(0.276, abs=0.03), "plain replacement as recorded: weight .62 instead of .90"
    assert biases[0] > 2.5 * biases[1] > 2.5 * 1.5 * biases[2] > 0


def conditional(mean, P, known, y):
    """The exact conditional mean and standard deviation of the rest."""
    rest = [k for k in range(len(mean)) if k not in known]
    gain = P[rest][:, known] @ torch.linalg.inv(P[known][:, known])
    cov = P[rest][:, rest] - gain @ P[known][:, rest]
    return rest, mean[rest] + gain @ (y - mean[known]), cov.diagonal().sqrt()


def test_that_gaps_of_a_field_are_filled_with_the_exact_conditional():
    spectrum = torch.tensor([1.0, 2.5, 1.5, 0.6, 0.4], dtype=F64)
    P = torch.stack([torch.fft.irfft(spectrum, n=8).roll(k) for k in range(8)])
    y = [0.5, NAN, -0.5, -1.0, NAN, NAN, 0.4, 0.9]
    known = [k for k, value in enumerate(y) if value == value]
    prior = CirculantGaussian(0.0, spectrum, VPCosine())
    out = inpainted(prior, y, resamplings=20)
    rest, mean, std = conditional(torch.zeros(8, dtype=F64), P, known, torch.tensor(y, dtype=F64)[known])
    torch.testing.assert_close(out[:, rest].mean(0), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(out[:, rest].std(0), std, rtol=0.08, atol=0)


@pytest.mark.parametrize("obs_std", [0.1, 0.5, 1.0])
def test_that_noisy_values_give_the_posterior_of_a_scalar(obs_std):
    prior = GaussianDenoiser(torch.zeros(1, dtype=F64), torch.eye(1, dtype=F64), VPCosine())
    out = inpainted(prior, [1.0], steps=200, R=obs_std**2, resamplings=1, variance="beta")
    assert float(out.mean()) == pytest.approx(1 / (1 + obs_std**2), abs=0.03)
    assert float(out.std()) == pytest.approx((1 + obs_std**-2) ** -0.5, rel=0.06)


def test_that_resampling_does_not_forget_noisy_values_and_informs_the_rest():
    means = [inpainted(PAIR, [1.0, NAN], R=0.25, resamplings=n).mean(0) for n in (1, 10)]
    assert float(means[0][1]) < 0.6
    torch.testing.assert_close(means[1], torch.tensor([0.8, 0.72], dtype=F64), rtol=0, atol=0.06)


def test_that_it_works_in_the_time_of_any_schedule():
    prior = GaussianDenoiser(torch.zeros(2, dtype=F64), torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64), EDM())
    out = inpainted(prior, [1.0, NAN], resamplings=10)[:, 1]
    assert float(out.mean()) == pytest.approx(0.9, abs=0.06)


@pytest.mark.parametrize(("jump", "resamplings"), [(1, 4), (5, 2), (7, 3), (100, 2)])
def test_that_every_step_is_taken_as_often_as_there_are_resamplings(jump, resamplings):
    counted = Counted(PAIR)
    inpainted(counted, [1.0, NAN], members=2, steps=21, jump=jump, resamplings=resamplings)
    assert counted.calls == 20 * resamplings + 1


def test_that_a_second_path_is_not_disturbed_by_one_left_half_way():
    g = torch.Generator().manual_seed(0)
    sampler = RePaint(PAIR, torch.tensor([[1.0, NAN]], dtype=F64), 10, g, jump=4, resamplings=2)
    x = torch.ones(1, 1, 2, dtype=F64)
    next(sampler.path(x))
    g.manual_seed(1)
    after = sampler(x)
    g.manual_seed(1)
    torch.testing.assert_close(sampler(x), after, rtol=0, atol=0)


def test_that_every_value_may_have_an_error_of_its_own():
    prior = GaussianDenoiser(torch.zeros(4, dtype=F64), torch.eye(4, dtype=F64), VPCosine())
    R = torch.tensor([[0.0, 0.25, 1.0, torch.nan]], dtype=F64)
    out = inpainted(prior, [1.0, 1.0, 1.0, NAN], steps=200, R=R, resamplings=1, variance="beta")
    assert (out[:, 0] == 1).all()
    weights = torch.tensor([0.8, 0.5, 0.0], dtype=F64)
    torch.testing.assert_close(out[:, 1:].mean(0), weights, rtol=0, atol=0.05)
    torch.testing.assert_close(out[:, 1:].std(0), (1 - weights).sqrt(), rtol=0.06, atol=0.0)


FORMS = {
    "NumPy": (np.zeros(2), 0.0, "floating-point tensor in the shape of a state, got ndarray"),
    "infinite": (torch.tensor([torch.inf, 0.0]), 0.0, "infinite values. Mark what is missing by NaN"),
    "R of another shape": (torch.zeros(2, dtype=F64), torch.ones(3), r"shape of `y` \(2,\), got \(3,\)"),
    "R a matrix": (torch.zeros(2, dtype=F64), torch.eye(2), "correlated use MomentMatching"),
    "R text": (torch.zeros(2, dtype=F64), "small", "`R` must be numbers"),
}


@pytest.mark.parametrize("kind", FORMS)
def test_that_known_values_of_another_form_are_refused(kind):
    y, R, message = FORMS[kind]
    with pytest.raises(ValueError, match=message):
        RePaint(PAIR, y, generator=torch.Generator(), R=R)


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1,), (5, 2), (4, 1, 2), (1, 1, 1, 2)])
def test_that_known_values_in_no_places_of_a_state_are_refused_instead_of_broadcast(shape):
    sampler = RePaint(PAIR, torch.zeros(shape, dtype=F64), 5, torch.Generator())
    with pytest.raises(ValueError, match=r"the states \(5, 1, 2\). Put the known values in their places"):
        sampler(torch.zeros(5, 1, 2, dtype=F64))
    with pytest.raises(ValueError, match=r"Pass y=y.to\(x_t\)"):
        RePaint(PAIR, torch.zeros(2), 5, torch.Generator())(torch.zeros(5, 1, 2, dtype=F64))


@pytest.mark.parametrize("settings", [dict(jump=0), dict(resamplings=0), dict(R=-1.0)])
def test_that_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="The paper has 10, 10 and 0"):
        RePaint(PAIR, torch.zeros(1, 2), generator=torch.Generator(), **settings)
