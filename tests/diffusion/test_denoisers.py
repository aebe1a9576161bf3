"""Denoisers: the exact ones agree with dense algebra and with each other, under every schedule."""

import pytest
import torch

from scoreda.diffusion import EDM, CirculantGaussian, ConvNet1d, GaussianDenoiser, KarrasDenoiser, VPCosine

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
