"""Denoisers: Gaussians agree with dense algebra, networks with what they stand for, under every schedule."""

import pytest
import torch
from torch import nn

from scoreda.diffusion import EDM, CirculantGaussian, ConvNet1d, GaussianDenoiser, KarrasDenoiser, VPCosine
from scoreda.diffusion.denoisers import (
    NOISE_INPUTS,
    TARGETS,
    LearnedWeighting,
    TargetDenoiser,
    denoiser_from_spec,
    target_by_name,
)
from scoreda.diffusion.schedules import DDPM, VE, RectifiedFlow, SubVP, VPConstant, VPLinear, expand
from scoreda.errors import ScoredaError

F64 = torch.float64
SCHEDULES = [EDM(0.01, 50.0), VPCosine()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def gaussian(seed, n=6):
    """A mean and a full covariance without any symmetry between components."""
    A = torch.randn(n, n, generator=generator(seed), dtype=F64)
    return torch.randn(n, generator=generator(seed + 1), dtype=F64), A @ A.T / n + 0.05 * torch.eye(n, dtype=F64)


def noisy_states(n, batch=5, channels=1):
    return 2 * torch.randn(batch, channels, n // channels, generator=generator(7), dtype=F64)


@every_schedule
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("t", [0.3, torch.tensor([0.05, 0.2, 0.4, 0.7, 1.0], dtype=F64)], ids=["scalar", "rows"])
def test_that_the_gaussian_denoiser_is_the_dense_formula(schedule, channels, t):
    (mean, C), x_t = gaussian(0), noisy_states(6, channels=channels)
    found = GaussianDenoiser(mean, C, schedule)(x_t, t)
    for row, time, x in zip(found, torch.as_tensor(t, dtype=F64).expand(5), x_t, strict=True):
        alpha_t, sigma_t = schedule.alpha(time), schedule.sigma(time)
        K = alpha_t * C @ torch.linalg.inv(alpha_t**2 * C + sigma_t**2 * torch.eye(6, dtype=F64))
        exact = mean + K @ (x.flatten() - alpha_t * mean)
        torch.testing.assert_close(row.flatten(), exact, rtol=1e-8, atol=1e-8)


@every_schedule
@pytest.mark.parametrize("size", [8, 9])
def test_that_the_wiener_filter_is_the_gaussian_denoiser_of_its_ring(schedule, size):
    spectrum = torch.linspace(3.0, 0.1, size // 2 + 1, dtype=F64)
    row = torch.fft.irfft(spectrum, n=size)
    C = torch.stack([row.roll(i) for i in range(size)])
    x_t, t = noisy_states(size), torch.tensor([0.05, 0.2, 0.4, 0.7, 0.9], dtype=F64)
    dense = GaussianDenoiser(torch.full((size,), 1.5, dtype=F64), C, schedule)(x_t, t)
    torch.testing.assert_close(CirculantGaussian(1.5, spectrum, schedule)(x_t, t), dense, rtol=1e-9, atol=1e-9)


@every_schedule
def test_that_the_score_follows_from_the_denoiser(schedule):
    (mean, C), x_t, t = gaussian(3), noisy_states(6), torch.tensor(0.4, dtype=F64)
    alpha_t, sigma_t = schedule.alpha(t), schedule.sigma(t)
    cov = alpha_t**2 * C + sigma_t**2 * torch.eye(6, dtype=F64)
    marginal = torch.distributions.MultivariateNormal(alpha_t * mean, cov)
    flat = x_t.flatten(1).requires_grad_()
    (score,) = torch.autograd.grad(marginal.log_prob(flat).sum(), flat)
    x_hat = GaussianDenoiser(mean, C, schedule)(x_t, t).flatten(1)
    torch.testing.assert_close((alpha_t * x_hat - flat.detach()) / sigma_t**2, score, rtol=1e-8, atol=1e-8)


def karras(schedule, seed=0, **settings):
    """A network with every weight drawn, those that start at zero too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = KarrasDenoiser(ConvNet1d(width=8, blocks=1, embedding=8), schedule, **settings).double()
        for weight in denoiser.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return denoiser


MAKERS = {
    "gaussian": lambda schedule: GaussianDenoiser(*gaussian(5), schedule),
    "circulant": lambda schedule: CirculantGaussian(0.7, torch.tensor([2.0, 1.0, 0.5, 0.1], dtype=F64), schedule),
    "karras": karras,
}


@pytest.mark.parametrize("name", MAKERS)
def test_that_the_schedule_does_not_change_the_posterior_mean_once_states_are_rescaled(name):
    edm, vp = SCHEDULES
    x = noisy_states(6)
    t = torch.tensor([0.1, 0.3, 0.5, 0.6, 0.8], dtype=F64)
    alpha_t = vp.alpha(t)
    as_edm = MAKERS[name](edm)(x, edm.time(vp.sigma(t) / alpha_t))
    as_vp = MAKERS[name](vp)(alpha_t[:, None, None] * x, t)
    torch.testing.assert_close(as_vp, as_edm, rtol=1e-8, atol=1e-8)


@every_schedule
@pytest.mark.parametrize("sigma_data", [1.0, 0.4])
def test_that_an_untrained_network_is_the_exact_denoiser_of_white_noise(schedule, sigma_data):
    denoiser = KarrasDenoiser(ConvNet1d(width=8, blocks=2), schedule, sigma_data).double()
    exact = GaussianDenoiser(torch.zeros(6, dtype=F64), sigma_data**2 * torch.eye(6, dtype=F64), schedule)
    x_t, t = noisy_states(6), torch.tensor([0.05, 0.2, 0.4, 0.7, 1.0], dtype=F64)
    torch.testing.assert_close(denoiser(x_t, t), exact(x_t, t), rtol=1e-9, atol=1e-9)


def test_that_the_loss_of_white_noise_is_one_at_every_noise_level_before_training():
    denoiser = KarrasDenoiser(ConvNet1d(width=8, blocks=1), EDM(), 0.5)
    x, eps = (torch.randn(4, 1, 100_000, generator=generator(seed)) for seed in (1, 2))
    loss = denoiser.loss(0.5 * x, torch.tensor([0.01, 0.3, 1.0, 20.0]), eps)
    torch.testing.assert_close(loss.detach(), torch.ones(4), rtol=0.02, atol=0.02)


def test_that_the_loss_is_the_weighted_error_of_each_sample():
    denoiser, x = karras(EDM()), noisy_states(6)
    sigma, eps = (
        torch.tensor([0.1, 0.5, 1.0, 2.0, 9.0], dtype=F64),
        torch.randn(5, 1, 6, generator=generator(4), dtype=F64),
    )
    x_hat = denoiser(x + sigma[:, None, None] * eps, EDM().time(sigma))
    by_hand = [(1 + s**2) / s**2 * ((a - b) ** 2).sum() / 6 for s, a, b in zip(sigma, x_hat, x, strict=True)]
    torch.testing.assert_close(denoiser.loss(x, sigma, eps), torch.stack(by_hand), rtol=1e-6, atol=1e-6)


def test_that_a_covariance_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"shape \(6, 6\), got \(5, 5\)"):
        GaussianDenoiser(torch.zeros(6), torch.eye(5), EDM())


# Losses.


def test_that_the_absolute_loss_has_the_root_of_the_weight():
    denoiser, x, eps = karras(EDM(), sigma_data=0.5), noisy_states(6), noisy_states(6).flip(0)
    ratio = torch.tensor([0.1, 0.5, 1.0, 2.0, 9.0], dtype=F64)
    weight, error = denoiser.errors(x, ratio, eps)
    torch.testing.assert_close(weight, (ratio**2 + 0.25) / (ratio * 0.5) ** 2)
    by_hand = weight.sqrt() * error.abs().sum(dim=(1, 2)) / 6
    torch.testing.assert_close(denoiser.loss(x, ratio, eps, norm="l1"), by_hand)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_that_only_known_entries_count(norm):
    denoiser, x, eps, ratio = karras(EDM()), noisy_states(6), noisy_states(6).flip(0), torch.ones(5, dtype=F64)
    known = torch.rand(5, 1, 6, generator=generator(3)) < 0.6
    weight, error = denoiser.errors(x, ratio, eps)
    power = {"l1": 1, "l2": 2}[norm]
    by_hand = [
        float(w.detach() ** (power / 2) * e[k].abs().pow(power).mean().detach())
        for w, e, k in zip(weight, error, known, strict=True)
    ]
    assert denoiser.loss(x, ratio, eps, norm, known).tolist() == pytest.approx(by_hand)


def test_that_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="'l2' or 'l1', got 'l3'"):
        karras(EDM()).loss(noisy_states(6), torch.ones(5, dtype=F64), noisy_states(6), norm="l3")


# Any target under any schedule.

ALL_SCHEDULES = [EDM(0.01, 50.0), VPCosine(), VPLinear(), VPConstant(), SubVP(), VE(), RectifiedFlow(), DDPM()]


class Oracle(nn.Module):
    """A perfect network: it predicts the target from the exact denoiser of a Gaussian."""

    def __init__(self, schedule, target):
        super().__init__()
        self.exact, self.target = GaussianDenoiser(*gaussian(0), schedule), target_by_name(target)

    def forward(self, x_t, t):
        alpha, sigma = (expand(f(t), x_t) for f in (self.exact.schedule.alpha, self.exact.schedule.sigma))
        return self.target.predicted(self.exact(x_t, t), x_t, alpha, sigma)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("target", TARGETS)
def test_that_a_perfect_network_makes_the_exact_denoiser_whatever_it_predicts(schedule, target):
    oracle = Oracle(schedule, target)
    denoiser = TargetDenoiser(oracle, schedule, target, noise_input="time")
    x_t = noisy_states(6)
    for t in (torch.tensor(0.3, dtype=F64), torch.tensor([0.05, 0.2, 0.4, 0.7, 0.95], dtype=F64)):
        torch.testing.assert_close(denoiser(x_t, t), oracle.exact(x_t, t), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES, ids=lambda s: s.name)
def test_that_states_whose_signal_is_not_scaled_are_denoised_under_any_schedule(schedule):
    oracle = Oracle(schedule, "v")
    x, t = noisy_states(6), torch.tensor([0.05, 0.2, 0.4, 0.7, 0.95], dtype=F64)
    alpha, sigma = expand(schedule.alpha(t), x), expand(schedule.sigma(t), x)
    found = TargetDenoiser(oracle, schedule, "v", noise_input="time").denoise(x, sigma / alpha)
    torch.testing.assert_close(found, oracle.exact(alpha * x, t), rtol=1e-7, atol=1e-7)


class Recorder(nn.Module):
    """A network that answers zero and remembers what it was called with."""

    def forward(self, *args, **told):
        self.args, self.told = args, told
        return torch.zeros_like(args[0])


@pytest.mark.parametrize("schedule", ALL_SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("target", TARGETS)
def test_that_the_loss_is_the_plain_error_of_the_target_at_the_schedule_s_own_states(schedule, target):
    network, x, eps = Recorder(), noisy_states(6), noisy_states(6).flip(0)
    t = torch.tensor([0.05, 0.2, 0.4, 0.7, 0.95], dtype=F64)
    alpha, sigma = schedule.alpha(t)[:, None, None], schedule.sigma(t)[:, None, None]
    loss = TargetDenoiser(network, schedule, target, noise_input="time").loss(x, (sigma / alpha).flatten(), eps)
    expected = target_by_name(target).of(x, eps, alpha, sigma).square().mean(dim=(1, 2))
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(network.args[0], alpha * x + sigma * eps, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(network.args[1], t)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weighting", ["uniform", "snr", "min_snr", "edm", "score", lambda s: 1 / (1 + s)])
def test_that_a_weighting_weighs_the_error_of_the_denoised_state(target, weighting):
    schedule, x, eps = VPLinear(), noisy_states(6), noisy_states(6).flip(0)
    t = torch.tensor([0.05, 0.2, 0.4, 0.7, 0.95], dtype=F64)
    s = schedule.sigma(t) / schedule.alpha(t)
    denoiser = TargetDenoiser(Recorder(), schedule, target, weighting, sigma_data=0.5)
    alpha, sigma = expand(schedule.alpha(t), x), expand(schedule.sigma(t), x)
    x_hat = denoiser(alpha * x + sigma * eps, t)
    w = {"uniform": 0 * s + 1, "snr": s**-2, "score": s**-2, "min_snr": (s**-2).clamp_max(5), "edm": 4 + s**-2}
    expected = w.get(weighting, 1 / (1 + s)) * (x_hat - x).square().mean(dim=(1, 2))
    torch.testing.assert_close(denoiser.loss(x, s, eps), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", NOISE_INPUTS)
def test_that_the_network_knows_the_noise_level_by_what_it_was_promised(name):
    schedule, network, index = DDPM(steps=500, beta_max=0.04), Recorder(), torch.tensor([0, 3, 250, 498, 499])
    denoiser = TargetDenoiser(network, schedule, noise_input=name)
    t = schedule.time_of_index(index).double()
    s = schedule.sigma(t) / schedule.alpha(t)
    expected = {"log_ratio": s.log() / 4, "ratio": s, "time": t, "step": index.double()}[name]
    denoiser(noisy_states(6), t)
    torch.testing.assert_close(network.args[1], expected)
    denoiser.loss(noisy_states(6), s, noisy_states(6))
    torch.testing.assert_close(network.args[1], expected)


def test_that_steps_reach_the_network_whole_in_single_precision():
    schedule, network = DDPM(-torch.expm1(torch.full((1000,), -0.01, dtype=F64))), Recorder()
    t = schedule.time_of_index(torch.arange(1000))
    x = torch.zeros(1000, 1, 4)
    TargetDenoiser(network, schedule, noise_input="step").loss(x, schedule.sigma(t) / schedule.alpha(t), x)
    assert torch.equal(network.args[1], torch.arange(1000.0))


def test_that_a_step_needs_a_schedule_of_steps():
    with pytest.raises(ScoredaError, match="'vp_linear' has no steps. Use DDPM"):
        TargetDenoiser(Recorder(), VPLinear(), noise_input="step")


@pytest.mark.parametrize(
    ("settings", "right"),
    [(dict(target="epsilom"), "epsilon"), (dict(weighting="nome"), "none"), (dict(noise_input="steps"), "step")],
)
def test_that_an_unknown_name_is_answered_with_the_nearest(settings, right):
    with pytest.raises(ScoredaError, match=f"did you mean '{right}'"):
        TargetDenoiser(Recorder(), DDPM(), **settings)


def convolutional(schedule, seed=0, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = TargetDenoiser(ConvNet1d(width=4, blocks=1, embedding=4), schedule, **settings)
        for weight in denoiser.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return denoiser


def test_that_weights_fit_the_denoiser_they_were_trained_in(tmp_path):
    trained = convolutional(DDPM([0.1, 0.5, 0.999]), noise_input="step")
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    again = convolutional(DDPM([0.1, 0.5, 0.999]), seed=1, noise_input="step")
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x_t = noisy_states(6).float()
    assert torch.equal(again(x_t, 0.4), trained(x_t, 0.4))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (convolutional(VPLinear(0.1, 15.0)), "schedule"), (convolutional(VPLinear(), target="v"), "target"),
        (convolutional(VPLinear(), noise_input="time"), "noise_input"),
        (convolutional(VPLinear(), sigma_data=0.5), "sigma_data"),
    ],
)  # fmt: skip
def test_that_weights_of_another_schedule_or_target_are_refused(other, named):
    with pytest.raises(ScoredaError, match=f"trained with {named} = .* Build the denoiser as it was trained"):
        convolutional(VPLinear()).load_state_dict(other.state_dict())


def test_that_a_network_that_knows_one_schedule_is_not_moved_to_another():
    denoiser = convolutional(VPLinear())
    denoiser.schedule = VPLinear()
    with pytest.raises(ScoredaError, match="knows the noise by the schedule {'name': 'vp_linear'.* not {'name': 'edm'"):
        denoiser.schedule = EDM()
    assert denoiser.schedule.spec() == VPLinear().spec()


@pytest.mark.parametrize(
    "denoiser",
    [karras(EDM(), sigma_data=0.5), convolutional(DDPM(), target="v", weighting="min_snr", noise_input="step")],
    ids=lambda d: d.name,
)
def test_that_a_denoiser_is_rebuilt_from_its_spec(denoiser):
    again = denoiser_from_spec(denoiser.spec(), denoiser.network, denoiser.schedule)
    x, ratio = noisy_states(6).to(next(denoiser.parameters())), torch.full((5,), 0.7)
    assert type(again) is type(denoiser)
    assert again.spec() == denoiser.spec()
    assert torch.equal(again.loss(x, ratio.to(x), x), denoiser.loss(x, ratio.to(x), x))


def test_that_an_unknown_denoiser_is_answered_with_the_nearest_name():
    with pytest.raises(ScoredaError, match="did you mean 'karras'"):
        denoiser_from_spec({"name": "karas"}, Recorder(), EDM())


@pytest.mark.parametrize("make", [karras, convolutional], ids=["karras", "target"])
def test_that_states_of_other_channels_or_precision_than_the_network_s_are_refused(make):
    denoiser = make(VPCosine()).float()
    with pytest.raises(ValueError, match=r"maps \(B, 1, L\), got \(5, 2, 3\)"):
        denoiser(noisy_states(6, channels=2).float(), 0.4)
    with pytest.raises(ValueError, match="is torch.float32 .* got samples of torch.float64"):
        denoiser(noisy_states(6), 0.4)


# Conditions.

LEARNED = {"karras": KarrasDenoiser, "target": TargetDenoiser}
every_learned = pytest.mark.parametrize("kind", LEARNED.values(), ids=LEARNED)


@every_learned
def test_that_a_network_without_condition_is_called_with_two_arguments(kind):
    denoiser = kind(Recorder(), VPCosine())
    for call in (
        lambda: denoiser(noisy_states(6), 0.4),
        lambda: denoiser.given(None)(noisy_states(6), 0.4),
        lambda: denoiser.loss(noisy_states(6), torch.ones(5, dtype=F64), noisy_states(6), condition=None),
    ):
        call()
        assert len(denoiser.network.args) == 2
        assert denoiser.network.told == {}


@every_learned
def test_that_a_condition_reaches_the_network_by_name(kind):
    denoiser, condition, given = kind(Recorder(), VPCosine()), noisy_states(6), torch.tensor([1, 0, 1, 1, 0]).bool()
    told = denoiser.given(condition)
    told(noisy_states(6), 0.4)
    assert denoiser.network.told == {"condition": condition}
    assert told.schedule is denoiser.schedule
    denoiser.loss(noisy_states(6), torch.ones(5, dtype=F64), noisy_states(6), condition=condition, given=given)
    assert denoiser.network.told == {"condition": condition, "given": given}


@every_learned
def test_that_a_conditional_network_listens_to_its_condition(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = kind(ConvNet1d(width=4, blocks=1, embedding=4, conditioning=2), VPCosine()).double()
        for weight in denoiser.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    x_t, condition = noisy_states(6), torch.randn(1, 2, 6, generator=generator(1), dtype=F64)
    unconditional, conditional = denoiser(x_t, 0.4), denoiser.given(condition)(x_t, 0.4)
    assert float((conditional - unconditional).detach().abs().min()) > 1e-6
    torch.testing.assert_close(denoiser.given(condition.expand(5, 2, 6))(x_t, 0.4), conditional)


# A learned weighting of noise levels.


def test_that_a_fresh_learned_weighting_changes_nothing():
    inside = karras(EDM())
    balanced = LearnedWeighting(inside).double()
    x, eps, ratio = noisy_states(6), noisy_states(6).flip(0), torch.tensor([0.1, 0.5, 1.0, 2.0, 9.0], dtype=F64)
    assert torch.equal(balanced.loss(x, ratio, eps, "l1"), inside.loss(x, ratio, eps, "l1"))
    assert torch.equal(balanced(x, 0.4), inside(x, 0.4))
    assert torch.equal(balanced.given(None)(x, 0.4), inside(x, 0.4))
    assert balanced.schedule is inside.schedule


def test_that_a_learned_weighting_finds_the_logarithm_of_the_mean_loss():
    """Data of standard deviation 1/2 under a network that answers zero, built for 1: known loss at every level."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        balanced = LearnedWeighting(KarrasDenoiser(Recorder(), EDM()))
    optimiser, g = torch.optim.Adam(balanced.parameters(), lr=1e-2), generator(0)
    for _ in range(300):
        ratio = torch.exp(3 * torch.rand(1000, generator=g) - 1.5)
        x, eps = (torch.randn(1000, 1, 4, generator=g) for _ in range(2))
        optimiser.zero_grad()
        balanced.loss(x / 2, ratio, eps).mean().backward()
        optimiser.step()
    ratio = torch.tensor([0.3, 0.6, 1.0, 2.0, 4.0])
    expected = ((1 + ratio**2 / 4) / (1 + ratio**2)).log()
    torch.testing.assert_close(balanced.log_loss(ratio).detach(), expected, rtol=0, atol=0.06)
