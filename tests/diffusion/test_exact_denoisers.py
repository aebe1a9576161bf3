"""Exact denoisers of mixtures, ensembles and fields on a torus, against densities, autograd and each other."""

import math

import pytest
import torch
from torch.func import jacrev, vjp

from scoreda.diffusion import EDM, CirculantGaussian, GaussianDenoiser, HeunSampler, VPCosine
from scoreda.diffusion.denoisers import Empirical, GaussianMixture, mixture, score
from scoreda.diffusion.schedules import DDPM, VE, RectifiedFlow, SubVP, VPConstant

F64 = torch.float64
SCHEDULES = [EDM(0.01, 50.0), VPCosine(), SubVP(), VE(), RectifiedFlow(), DDPM(), VPConstant()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
times = pytest.mark.parametrize("t", [0.3, torch.tensor([0.1, 0.2, 0.4, 0.7, 1.0], dtype=F64)], ids=["scalar", "rows"])


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def parts(K=3, n=4):
    """Weights, means and full covariances of a mixture without any symmetry."""
    A = normal(0, K, n, n)
    covs = A @ A.mT / n + 0.05 * torch.eye(n, dtype=F64)
    return torch.tensor([0.5, 0.2, 0.3], dtype=F64)[:K], 2 * normal(1, K, n), covs


def scales(schedule, t):
    """Signal and noise of five rows, `(5, 1)`."""
    t = torch.as_tensor(t, dtype=F64).expand(5)
    return schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]


def noisy_states(schedule, t, *shape):
    """Five states as the forward process makes them of data of about the mixtures' spread."""
    alpha_t, sigma_t = scales(schedule, t)
    flat = alpha_t * 2 * normal(2, 5, math.prod(shape)) + sigma_t * normal(3, 5, math.prod(shape))
    return flat.reshape(5, *shape)


def mixture_log_prob(x_t, weights, means, covs, schedule, t):
    """The log density of noisy states by torch.distributions."""
    alpha_t, sigma_t = scales(schedule, t)
    noise = sigma_t[..., None, None] ** 2 * torch.eye(means.shape[1], dtype=F64)
    components = torch.distributions.MultivariateNormal(
        alpha_t[..., None] * means, alpha_t[..., None, None] ** 2 * covs + noise
    )
    return (weights.log() + components.log_prob(x_t.flatten(1)[:, None])).logsumexp(1)


def autograd_score(log_prob, x_t):
    x_t = x_t.clone().requires_grad_()
    return torch.autograd.grad(log_prob(x_t).sum(), x_t)[0]


@every_schedule
@times
def test_that_the_score_of_a_mixture_is_the_gradient_of_its_log_density(schedule, t):
    denoiser, x_t = GaussianMixture(*parts(), schedule), noisy_states(schedule, t, 2, 2)
    reference = lambda x: mixture_log_prob(x, *parts(), schedule, t)
    torch.testing.assert_close(denoiser.log_prob(x_t, t), reference(x_t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(score(denoiser, x_t, t), autograd_score(reference, x_t), rtol=1e-7, atol=1e-7)


@every_schedule
def test_that_a_mixture_of_one_is_the_gaussian(schedule):
    _, means, covs = parts()
    one = GaussianMixture(torch.ones(1, dtype=F64), means[:1], covs[:1], schedule)
    x_t = noisy_states(schedule, 0.4, 4)
    exact = GaussianDenoiser(means[0], covs[0], schedule)(x_t, 0.4)
    torch.testing.assert_close(one(x_t, 0.4), exact, rtol=1e-9, atol=1e-9)


def test_that_weights_need_not_add_up_to_one():
    weights, means, covs = parts()
    x_t = noisy_states(VPCosine(), 0.4, 4)
    found = GaussianMixture(7 * weights, means, covs, VPCosine())(x_t, 0.4)
    torch.testing.assert_close(found, GaussianMixture(weights, means, covs, VPCosine())(x_t, 0.4))


@every_schedule
@times
def test_that_the_posterior_covariance_of_a_mixture_is_the_derivative_of_its_denoiser(schedule, t):
    denoiser, x_t = GaussianMixture(*parts(), schedule), noisy_states(schedule, t, 4)
    alpha_t, sigma_t = scales(schedule, t)
    rows = torch.arange(5)
    jacobian = jacrev(lambda x: denoiser(x, t))(x_t)[rows, :, rows]
    expected = (sigma_t**2 / alpha_t)[..., None] * jacobian
    torch.testing.assert_close(denoiser.covariance(x_t, t), expected, rtol=1e-6, atol=1e-8)


def kde(schedule, bandwidth, N=6):
    """An ensemble's denoiser, and the same as a mixture."""
    samples = 2 * normal(4, N, 1, 4)
    covs = bandwidth**2 * torch.eye(4, dtype=F64).expand(N, 4, 4)
    return Empirical(samples, schedule, bandwidth), GaussianMixture(
        torch.ones(N, dtype=F64), samples.flatten(1), covs, schedule
    )


@every_schedule
@times
@pytest.mark.parametrize("bandwidth", [0.0, 0.5])
def test_that_an_ensemble_is_a_mixture_of_equal_gaussians_around_its_members(schedule, t, bandwidth):
    empirical, exact = kde(schedule, bandwidth)
    x_t = noisy_states(schedule, t, 1, 4)
    torch.testing.assert_close(empirical(x_t, t), exact(x_t, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(empirical.log_prob(x_t, t), exact.log_prob(x_t, t), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_that_chunks_do_not_change_an_ensemble_s_answer(monkeypatch, rows):
    empirical, x_t = kde(VPCosine(), 0.3)[0], noisy_states(VPCosine(), 0.4, 1, 4)
    t = torch.tensor([0.1, 0.2, 0.4, 0.7, 1.0], dtype=F64)
    whole = empirical(x_t, t)
    monkeypatch.setattr(mixture, "CHUNK", rows * 6 * 4)
    torch.testing.assert_close(empirical(x_t, t), whole, rtol=1e-12, atol=1e-12)


def test_that_a_member_of_a_large_ensemble_is_found_at_little_noise_in_single_precision():
    samples = 100 + normal(5, 500, 40).float()
    near = samples[:5] + 0.01 * normal(6, 5, 40).float()
    found = Empirical(samples, EDM(0.01, 80.0))(near, 0.0)
    torch.testing.assert_close(found, samples[:5], rtol=0, atol=1e-6)


def test_that_samples_from_an_ensemble_s_denoiser_are_its_members():
    members = torch.tensor([[[-2.0, 0.5]], [[1.0, 3.0]], [[0.5, -1.0]]], dtype=F64)
    schedule = EDM(0.002, 200.0)
    drawn = HeunSampler(Empirical(members, schedule), 40)(200 * normal(7, 60, 1, 2))
    distance = (drawn[:, None] - members).flatten(2).norm(dim=2)
    assert float(distance.min(1).values.max()) < 1e-6
    assert set(distance.argmin(1).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("make", [lambda s: GaussianMixture(*parts(), s), lambda s: kde(s, 0.3)[0]], ids=["gmm", "kde"])
def test_that_a_product_with_the_jacobian_is_symmetric_as_a_covariance_must_be(make):
    denoiser, x_t = make(VPCosine()), noisy_states(VPCosine(), 0.4, 1, 4)
    pull = vjp(lambda x: denoiser(x, torch.tensor(0.4, dtype=F64)), x_t)[1]
    u, v = normal(8, 5, 1, 4), normal(9, 5, 1, 4)
    left, right = (u * pull(v)[0]).flatten(1).sum(1), (v * pull(u)[0]).flatten(1).sum(1)
    torch.testing.assert_close(left, right)


@every_schedule
@pytest.mark.parametrize("sizes", [(4, 6), (3, 5)])
def test_that_the_wiener_filter_of_a_torus_is_the_gaussian_denoiser_of_its_covariance(schedule, sizes):
    shifts = torch.cartesian_prod(*[torch.arange(n) for n in sizes])
    wave = torch.meshgrid(*[torch.fft.fftfreq(n) for n in sizes], indexing="ij")
    spectrum = torch.exp(-4 * (wave[0] ** 2 + 2 * wave[1] ** 2)).double() + 0.1
    row = torch.fft.ifft2(spectrum).real
    C = torch.stack([row.roll(tuple(shift.tolist()), dims=(0, 1)).flatten() for shift in shifts])
    x_t, t = noisy_states(schedule, 0.4, 1, *sizes), torch.tensor([0.05, 0.2, 0.4, 0.7, 0.9], dtype=F64)
    dense = GaussianDenoiser(torch.full((C.shape[0],), 1.5, dtype=F64), C, schedule)(x_t, t)
    found = CirculantGaussian(1.5, spectrum[:, : sizes[1] // 2 + 1], schedule)(x_t, t)
    torch.testing.assert_close(found, dense, rtol=1e-8, atol=1e-8)


def test_that_shapes_that_disagree_are_refused():
    weights, means, covs = parts()
    with pytest.raises(ValueError, match=r"`covs` \(3, 4, 4\), got \(3,\) and \(2, 4, 4\)"):
        GaussianMixture(weights, means, covs[:2], EDM())
    with pytest.raises(ValueError, match="non-negative"):
        GaussianMixture(-weights, means, covs, EDM())


@pytest.mark.parametrize("kind", ["gaussian", "mixture", "circulant"])
def test_that_what_is_no_covariance_is_refused(kind):
    weights, means, covs = parts()
    make = {
        "gaussian": lambda: GaussianDenoiser(means[0], -covs[0], EDM()),
        "mixture": lambda: GaussianMixture(weights, means, -covs, EDM()),
        "circulant": lambda: CirculantGaussian(0.0, torch.tensor([1.0, -0.1, 1.0]), EDM()),
    }
    with pytest.raises(ValueError, match=r"has a negative eigenvalue, -.*Pass the covariance of the data"):
        make[kind]()


def test_that_rounding_below_zero_is_no_negative_eigenvalue():
    rows = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    denoiser = GaussianDenoiser(torch.zeros(40), rows.T @ rows, EDM())
    orthogonal = torch.linalg.svd(rows)[2][3:4]
    assert float(denoiser(orthogonal, 0.5).norm()) < 1e-4


@pytest.mark.parametrize(("size", "dtype"), [(12, torch.float32), (8, F64)])
def test_that_a_spectrum_of_other_states_is_refused(size, dtype):
    with pytest.raises(ValueError, match=rf"need a spectrum \({size // 2 + 1},\) like them, got \(5,\), torch.float32"):
        CirculantGaussian(0.0, torch.ones(5), EDM())(torch.zeros(2, 1, size, dtype=dtype), 0.4)


EXACT = {
    "gaussian": lambda: GaussianDenoiser(parts()[1][0], parts()[2][0], VPCosine()),
    "mixture": lambda: GaussianMixture(*parts(), VPCosine()),
    "empirical": lambda: kde(VPCosine(), 0.3)[0],
}


@pytest.mark.parametrize("name", EXACT)
def test_that_states_of_another_size_or_precision_are_refused(name):
    denoiser = EXACT[name]()
    with pytest.raises(ValueError, match="states of 3 variables, .* do not fit a denoiser of 4 variables"):
        denoiser(torch.zeros(2, 3, dtype=F64), 0.4)
    with pytest.raises(ValueError, match=r"torch.float32 on cpu, do not fit .* pass states.to\(torch.float64\)"):
        denoiser(torch.zeros(2, 4), 0.4)


@pytest.mark.parametrize(("samples", "bandwidth"), [(torch.zeros(3, 2), -0.1), (torch.zeros(0, 2), 0.1)])
def test_that_an_ensemble_without_samples_or_of_negative_width_is_refused(samples, bandwidth):
    with pytest.raises(ValueError, match="`bandwidth` >= 0 and samples"):
        Empirical(samples, EDM(), bandwidth)


NO_COVARIANCES = {"asymmetric": torch.tensor([[1.0, 0.9], [0.0, 1.0]]), "NaN": torch.tensor([[1.0, torch.nan]] * 2)}


@pytest.mark.parametrize("kind", NO_COVARIANCES)
def test_that_a_matrix_that_is_no_covariance_is_refused_instead_of_half_read(kind):
    cov, message = NO_COVARIANCES[kind], {"asymmetric": "must be symmetric", "NaN": "holds NaN or Inf"}[kind]
    with pytest.raises(ValueError, match=f"`cov` {message}"):
        GaussianDenoiser(torch.zeros(2), cov, EDM())
    with pytest.raises(ValueError, match=f"`covs` {message}"):
        GaussianMixture(torch.ones(2), torch.zeros(2, 2), torch.stack([torch.eye(2), cov]), EDM())


def test_that_a_spectrum_with_gaps_is_refused():
    with pytest.raises(ValueError, match="`spectrum` holds NaN or Inf"):
        CirculantGaussian(0.0, torch.tensor([1.0, torch.inf]), EDM())
