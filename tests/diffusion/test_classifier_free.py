"""Classifier-free guidance: exact with an exact conditional denoiser, close with a small network that was trained."""

import pytest
import torch

from scoreda.diffusion import GaussianDenoiser, HeunSampler, VPCosine
from scoreda.diffusion.denoisers import KarrasDenoiser
from scoreda.diffusion.guidance import ClassifierFree, drop_condition
from scoreda.diffusion.networks import MLP

F64 = torch.float64
CORRELATION, TOLD = 0.8, 1.5
SCHEDULE = VPCosine()


def exact(mean, variance, dtype=F64):
    return GaussianDenoiser(torch.tensor([mean], dtype=dtype), torch.tensor([[variance]], dtype=dtype), SCHEDULE)


class ExactPair:
    """Two standard normal variables of known correlation: a denoiser of the first that may be told the second."""

    schedule = SCHEDULE

    def given(self, condition):
        if condition is None:
            return exact(0.0, 1.0)
        return exact(CORRELATION * float(condition), 1 - CORRELATION**2)


def moments(denoiser, steps=64):
    """Mean and standard deviation of what Heun's method makes of white noise, which is an affine map."""
    out = HeunSampler(denoiser, steps)(torch.tensor([0.0, 1.0], dtype=F64).reshape(2, 1, 1)).flatten()
    return float(out[0]), float((out[1] - out[0]).abs())


@pytest.mark.parametrize(
    ("weight", "mean", "std"), [(0.0, CORRELATION * TOLD, (1 - CORRELATION**2) ** 0.5), (-1.0, 0.0, 1.0)]
)
def test_that_weight_zero_is_the_conditional_and_minus_one_the_prior(weight, mean, std):
    got = moments(ClassifierFree(ExactPair(), torch.tensor([TOLD]), weight))
    assert got == pytest.approx((mean, std), rel=0.01, abs=1e-6)


def test_that_a_positive_weight_overshoots_and_sharpens():
    plain, strong = (moments(ClassifierFree(ExactPair(), torch.tensor([TOLD]), w)) for w in (0.0, 1.0))
    assert strong[0] > 1.1 * plain[0]
    assert strong[1] < 0.9 * plain[1]


def test_that_the_score_is_the_weighted_difference_of_scores():
    x, t = torch.linspace(-2, 2, 5, dtype=F64).reshape(5, 1, 1), torch.tensor(0.5, dtype=F64)
    pair, told = ExactPair(), torch.tensor([TOLD])
    expected = 3.0 * pair.given(told)(x, t) - 2.0 * pair.given(None)(x, t)
    torch.testing.assert_close(ClassifierFree(pair, told, 2.0)(x, t), expected)


def test_that_conditions_are_dropped_as_often_as_asked():
    condition, g = torch.zeros(20000, 3), torch.Generator().manual_seed(0)
    kept = drop_condition(condition, 0.2, g)
    assert kept.shape == (20000,)
    assert float(kept.double().mean()) == pytest.approx(0.8, abs=0.012)
    assert drop_condition(condition, 0.0, g).all()
    assert not drop_condition(condition, 1.0, g).any()


@pytest.fixture(scope="module")
def trained():
    """A small network, shown pairs of which every fifth lacks its condition."""
    torch.manual_seed(0)
    g, steps = torch.Generator().manual_seed(1), 2500
    denoiser = KarrasDenoiser(MLP(1, width=32, layers=2, conditioning=1), SCHEDULE)
    optimiser = torch.optim.Adam(denoiser.parameters(), 1e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        c, rest, eps = torch.randn(3, 1024, 1, generator=g)
        x = CORRELATION * c + (1 - CORRELATION**2) ** 0.5 * rest
        ratio = (1.5 * torch.randn(1024, generator=g)).exp()
        optimiser.zero_grad()
        denoiser.loss(x, ratio, eps, condition=c, given=drop_condition(c, 0.2, g)).mean().backward()
        optimiser.step()
        decay.step()
    return denoiser


@torch.no_grad()
def worst_error(denoiser, mean, variance, ratio):
    """The largest error of a denoiser of N(mean, variance) within 1.5 standard deviations of x_t."""
    t = SCHEDULE.time(ratio)
    anomalies = (variance + ratio**2) ** 0.5 * torch.linspace(-1.5, 1.5, 7)[:, None]
    x_t = SCHEDULE.alpha(t) * (mean + anomalies)
    return float((denoiser(x_t, t) - exact(mean, variance, torch.float32)(x_t, t)).abs().max())


@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("told", [-1.0, 0.0, TOLD])
def test_that_a_trained_network_approaches_the_exact_conditional_mean(trained, told, ratio):
    guided = ClassifierFree(trained, torch.tensor([[told]]))
    assert worst_error(guided, CORRELATION * told, 1 - CORRELATION**2, ratio) < 0.1


@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
def test_that_the_same_network_without_its_condition_knows_the_prior(trained, ratio):
    prior = ClassifierFree(trained, torch.tensor([[TOLD]]), weight=-1.0)
    assert worst_error(prior, 0.0, 1.0, ratio) < 0.1


def test_that_samples_of_the_trained_network_have_the_posterior_mean_and_spread(trained):
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(2))
    out = HeunSampler(ClassifierFree(trained, torch.tensor([[TOLD]])), 20)(x)
    assert float(out.mean()) == pytest.approx(CORRELATION * TOLD, abs=0.06)
    assert float(out.std()) == pytest.approx((1 - CORRELATION**2) ** 0.5, abs=0.06)


def test_that_a_denoiser_without_conditions_is_refused():
    with pytest.raises(ValueError, match="takes no condition"):
        ClassifierFree(exact(0.0, 1.0), torch.tensor([TOLD]))


def test_that_a_weight_or_probability_out_of_range_is_refused():
    with pytest.raises(ValueError, match="finite"):
        ClassifierFree(ExactPair(), torch.tensor([TOLD]), float("nan"))
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        drop_condition(torch.zeros(3), 1.5, torch.Generator())
