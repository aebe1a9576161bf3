"""Guidance: moment matching against exact posteriors, and what every method has to keep."""

import gc

import pytest
import torch

from scoreda.diffusion import (
    EDM,
    CirculantGaussian,
    ConvNet1d,
    GaussianDenoiser,
    HeunSampler,
    KarrasDenoiser,
    MomentMatching,
    VPCosine,
)
from scoreda.diffusion.guidance import DPS, FI6, GUIDANCE, SDA, ConstantDerivative, DiffPIR, Recorded, guidance_by_name
from scoreda.errors import ScoredaError

F64 = torch.float64
COVARIANCE = torch.diag(torch.linspace(0.5, 2.0, 8, dtype=F64)) + 0.3
SPECTRUM = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1], dtype=F64)
CASES = {
    "constant_derivative": {},
    "diffpir": dict(lam=3.0),
    "dps": {},
    "dps normalised": dict(zeta=0.4),
    "fi6": {},
    "jfps": dict(covariance=COVARIANCE),
    "jfps circulant": dict(covariance=SPECTRUM),
    "moment_matching": {},
    "moment_matching gmres": dict(solver="gmres"),
    "moment_matching exact": dict(solver="exact"),
    "pigdm": {},
    "sda": {},
    "sda full": dict(covariance=COVARIANCE, floor=0.1),
    "sda circulant": dict(covariance=SPECTRUM),
    "tmpd": {},
}
every_method = pytest.mark.parametrize("case", CASES)


def random_problem(seed, n=8):
    """A correlated prior, every other component observed, unequal error variances: nothing symmetric."""
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(n, n, generator=g, dtype=F64)
    P = A @ A.T / n + 0.1 * torch.eye(n, dtype=F64)
    mean, y = torch.randn(n, generator=g, dtype=F64), torch.randn(n // 2, generator=g, dtype=F64)
    H = torch.eye(n, dtype=F64)[::2] + 0.3 * torch.randn(n // 2, n, generator=g, dtype=F64)
    return mean, P, H, y, 0.3 + 0.4 * torch.rand(n // 2, generator=g, dtype=F64)


def kalman(mean, P, H, y, R):
    """The exact posterior mean and covariance."""
    K = P @ H.T @ torch.linalg.inv(H @ P @ H.T + torch.diag(R))
    return mean + K @ (y - H @ mean), P - K @ H @ P


def affine_map(sampler, n, sigma_max):
    """Push zero and the unit vectors through a sampler; return the exact output mean and covariance."""
    inputs = torch.cat([torch.zeros(1, n, dtype=F64), torch.eye(n, dtype=F64)]) * sigma_max
    out = sampler(inputs[:, None])[:, 0]
    M = out[1:] - out[0]
    return out[0], M.T @ M


def guided(problem, steps):
    mean, P, H, y, R = problem
    schedule = EDM(0.002, 1000.0)
    denoiser = MomentMatching(GaussianDenoiser(mean, P, schedule), y, lambda x: x[:, 0] @ H.T, R)
    return affine_map(HeunSampler(denoiser, steps), len(mean), schedule.sigma_max)


def relative(a, b):
    return float(torch.linalg.norm(a - b) / torch.linalg.norm(b))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_that_256_heun_steps_with_moment_matching_give_the_kalman_posterior(seed):
    problem = random_problem(seed)
    mean, cov = guided(problem, 256)
    exact_mean, exact_cov = kalman(*problem)
    assert relative(cov, exact_cov) < 1e-3
    assert relative(mean, exact_mean) < 1e-3


def test_that_heun_converges_at_second_order():
    problem = random_problem(0)
    exact = kalman(*problem)[1]
    steps = torch.tensor([64, 128, 256, 512])
    errors = torch.tensor([relative(guided(problem, int(n))[1], exact) for n in steps])
    slope = torch.diff(errors.log()) / torch.diff(steps.double().log())
    assert abs(slope[-1] + 2) < 0.15


def scalar_posterior(prior_cov, H, obs_std, steps=20):
    """Mean and covariance from a zero-mean prior and one observation y = 1."""
    schedule, n = VPCosine(), len(prior_cov)
    prior = GaussianDenoiser(torch.zeros(n, dtype=F64), prior_cov, schedule)
    denoiser = MomentMatching(prior, torch.ones(1, dtype=F64), H, obs_std**2)
    return affine_map(HeunSampler(denoiser, steps), n, float(schedule.sigma(torch.ones((), dtype=F64))))


@pytest.mark.parametrize("obs_std", [0.1, 0.5, 1.0])
def test_that_twenty_heun_steps_weigh_one_observation_right_to_one_percent(obs_std):
    mean, cov = scalar_posterior(torch.eye(1, dtype=F64), lambda x: x[:, 0], obs_std)
    assert float(mean) == pytest.approx(1 / (1 + obs_std**2), rel=0.01)
    assert float(cov.sqrt()) == pytest.approx((1 + obs_std**-2) ** -0.5, rel=0.01)


def test_that_an_observation_spreads_to_the_correlated_variable():
    correlated = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64)
    mean, cov = scalar_posterior(correlated, lambda x: x[:, 0, :1], 0.1)
    assert float(mean[1]) == pytest.approx(0.891, rel=0.01)
    assert float(cov[1, 1].sqrt()) == pytest.approx(0.445, rel=0.01)


def make(case, denoiser, y, H, R, **more):
    return GUIDANCE[case.split()[0]](denoiser, y, H, R, **CASES[case], **more)


def gaussian_field(seed, members=6, n=8):
    mean, P, H, y, R = random_problem(seed)
    x = 2 * torch.randn(members, 1, n, generator=torch.Generator().manual_seed(9), dtype=F64)
    return GaussianDenoiser(mean, P, EDM()), H, y, R, x


def full(R):
    """A covariance with those variances and correlated neighbours."""
    distance = (torch.arange(len(R))[:, None] - torch.arange(len(R))).abs()
    return (R[:, None] * R).sqrt() * 0.6**distance


def test_that_every_registered_method_is_under_contract():
    assert {case.split()[0] for case in CASES} == set(GUIDANCE)


@every_method
@pytest.mark.parametrize("t", [0.5, torch.linspace(0.1, 0.9, 6, dtype=F64)], ids=["one time", "a time each"])
def test_that_a_member_does_not_depend_on_the_batch(case, t):
    denoiser, H, y, R, x = gaussian_field(3)
    guided = make(case, denoiser, y, lambda x: (x[:, 0] @ H.T) ** 2, full(R))
    each = torch.as_tensor(t).expand(6)
    alone = torch.cat([guided(row[None], at) for row, at in zip(x, each, strict=True)])
    torch.testing.assert_close(guided(x, t), alone, rtol=1e-9, atol=1e-9)


@every_method
def test_that_members_may_have_observations_of_their_own(case):
    denoiser, H, y, R, x = gaussian_field(7)
    own = y + torch.arange(6, dtype=F64)[:, None]
    own[2, 1] = own[4, 3] = torch.nan
    observe = lambda x: x[:, 0] @ H.T
    alone = [make(case, denoiser, row, observe, full(R))(member[None], 0.4) for row, member in zip(own, x, strict=True)]
    torch.testing.assert_close(
        make(case, denoiser, own, observe, full(R))(x, 0.4), torch.cat(alone), rtol=1e-6, atol=1e-6
    )


@every_method
@pytest.mark.parametrize("covariance", [lambda R: R, full], ids=["variances", "full R"])
def test_that_missing_values_act_as_if_they_were_not_listed(case, covariance):
    denoiser, H, y, R, x = gaussian_field(4)
    gaps, keep = y.clone(), torch.tensor([0, 2, 3])
    gaps[1] = torch.nan
    listed = covariance(R)[keep] if covariance(R).ndim == 1 else covariance(R)[keep][:, keep]
    masked = make(case, denoiser, gaps, lambda x: x[:, 0] @ H.T, covariance(R))(x, 0.4)
    fewer = make(case, denoiser, y[keep], lambda x: x[:, 0] @ H[keep].T, listed)(x, 0.4)
    torch.testing.assert_close(masked, fewer, rtol=1e-6, atol=1e-6)


@every_method
def test_that_without_observations_the_prior_is_left_alone(case):
    denoiser, H, y, R, x = gaussian_field(5)
    guided = make(case, denoiser, torch.full_like(y, torch.nan), lambda x: x[:, 0] @ H.T, full(R))
    torch.testing.assert_close(guided(x, 0.4), denoiser(x, 0.4))


@every_method
def test_that_a_matrix_of_variances_is_the_variances(case):
    denoiser, H, y, R, x = gaussian_field(6)
    diagonal, matrix = (make(case, denoiser, y, lambda x: (x[:, 0] @ H.T) ** 2, r)(x, 0.4) for r in (R, torch.diag(R)))
    torch.testing.assert_close(matrix, diagonal, rtol=1e-9, atol=1e-9)


@every_method
def test_that_a_full_covariance_is_not_its_diagonal(case):
    denoiser, H, y, R, x = gaussian_field(6)
    diagonal, matrix = (make(case, denoiser, y, lambda x: x[:, 0] @ H.T, r)(x, 0.4) for r in (R, full(R)))
    assert relative(matrix, diagonal) > 1e-3


@every_method
def test_that_single_precision_gives_the_same_in_single_precision(case):
    mean, P, H, y, R = (part.float() for part in random_problem(8))
    exact_denoiser, *exact, x = gaussian_field(8)
    single = make(case, GaussianDenoiser(mean, P, EDM()), y, lambda x: x[:, 0] @ H.T, R)(x.float(), 0.5)
    double = make(case, exact_denoiser, exact[1], lambda x: x[:, 0] @ exact[0].T, exact[2])(x, 0.5)
    assert single.dtype == torch.float32 and double.dtype == F64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-3)


@every_method
def test_that_the_coordinates_of_the_schedule_do_not_matter(case):
    mean, P, H, y, R = random_problem(9)
    x, s = gaussian_field(9)[-1], torch.tensor(0.7, dtype=F64)
    results = []
    for schedule in (EDM(), VPCosine()):
        t = schedule.time(s)
        guided = make(case, GaussianDenoiser(mean, P, schedule), y, lambda x: (x[:, 0] @ H.T) ** 2, R)
        results.append(guided(schedule.alpha(t) * x, t))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


def trainable_network(length=8):
    torch.manual_seed(0)
    denoiser = KarrasDenoiser(ConvNet1d(width=4, blocks=1), EDM())
    for weights in denoiser.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    return denoiser, 80 * torch.randn(3, 1, length)


def nonlinear(x):
    return x[:, 0, ::2].abs() + 0.1 * x[:, 0, 1::2]


@every_method
def test_that_no_graph_passes_from_step_to_step_of_a_network_with_a_nonlinear_operator(case):
    denoiser, x = trainable_network()
    for state in HeunSampler(make(case, denoiser, torch.ones(4), nonlinear, 0.5), 4).path(x):
        assert not state.requires_grad and state.isfinite().all()


def test_that_memory_does_not_grow_over_the_steps():
    denoiser, x = trainable_network()
    counts = []
    for step, _ in enumerate(HeunSampler(FI6(denoiser, torch.ones(4), nonlinear, 0.5), 12).path(x)):
        if step in (1, 10):
            counts.append(sum(type(thing) is torch.Tensor for thing in gc.get_objects()))
    assert counts[0] == counts[1]


@every_method
def test_that_an_error_variance_of_zero_is_refused(case):
    denoiser, H, y, R, _ = gaussian_field(6)
    with pytest.raises(ValueError, match="positive"):
        make(case, denoiser, y, lambda x: x[:, 0] @ H.T, 0 * R)


@every_method
def test_that_weight_is_the_power_of_the_likelihood(case):
    denoiser, H, y, R, x = gaussian_field(10)
    tempered = make(case, denoiser, y, lambda x: x[:, 0] @ H.T, full(R), weight=4.0)(x, 0.4)
    torch.testing.assert_close(tempered, make(case, denoiser, y, lambda x: x[:, 0] @ H.T, full(R) / 4)(x, 0.4))


def test_that_a_weight_of_zero_is_refused():
    denoiser, H, y, R, _ = gaussian_field(6)
    with pytest.raises(ValueError, match="`weight` must be positive"):
        FI6(denoiser, y, lambda x: x[:, 0] @ H.T, R, weight=0.0)


def test_that_states_of_another_precision_than_the_observations_are_refused_with_the_fix():
    denoiser, H, y, R, x = gaussian_field(6)
    with pytest.raises(ValueError, match=r"y\.to\(x_t\)"):
        FI6(denoiser, y.float(), lambda x: x[:, 0] @ H.T, R)(x, 0.4)


def test_that_states_on_another_device_are_refused_by_guidance_denoiser_and_network_with_the_fix():
    denoiser, H, y, R, x = gaussian_field(6)
    network, fields = trainable_network()
    with pytest.raises(ValueError, match=r"on meta, but `y` is torch.float64 on cpu\. Pass y=y\.to\(x_t\)"):
        FI6(denoiser, y, lambda x: x[:, 0] @ H.T, R)(x.to("meta"), 0.4)
    with pytest.raises(ValueError, match="on meta, do not fit a denoiser of 8 variables, torch.float64 on cpu"):
        denoiser(x.to("meta"), 0.4)
    with pytest.raises(ValueError, match=r"got samples of torch.float32 on meta\. Pass samples\.to\('cpu'"):
        network(fields.to("meta"), 0.4)


LIKELIHOODS = {  # method, settings, and minus the log-likelihood from r^2 / R, summed, at noise-to-signal ratio s
    "FI6": (FI6, {}, lambda r, R, s: (r**2 / (R + s**2)).sum() / 2),
    "DPS": (DPS, {}, lambda r, R, s: (r**2 / R).sum() / 2),
    "DPS normalised": (DPS, dict(zeta=0.4), lambda r, R, s: 0.4 * (r**2 / R).sum(-1).sqrt().sum()),
    "SDA": (SDA, dict(gamma=0.03), lambda r, R, s: (r**2 / (R + 0.03 * s**2)).sum() / 2),
}


@pytest.mark.parametrize("case", LIKELIHOODS)
def test_that_the_correction_is_the_gradient_of_the_method_s_likelihood(case):
    method, settings, energy = LIKELIHOODS[case]
    mean, P, H, y, R = random_problem(11)
    denoiser, observe = GaussianDenoiser(mean, P, VPCosine()), lambda x: torch.sin(x[:, 0] @ H.T)
    x, t = gaussian_field(11)[-1].requires_grad_(), torch.tensor(0.6, dtype=F64)
    alpha_t, sigma_t = denoiser.schedule.alpha(t), denoiser.schedule.sigma(t)
    (g,) = torch.autograd.grad(-energy(y - observe(denoiser(x, t)), R, sigma_t / alpha_t), x)
    expected = denoiser(x, t) + sigma_t**2 / alpha_t * g
    torch.testing.assert_close(method(denoiser, y, observe, R, **settings)(x, t), expected)


def test_that_diffpir_s_point_is_the_minimum_it_is_defined_by():
    denoiser, H, y, R, x = gaussian_field(12)
    t, lam, C = torch.tensor(0.5, dtype=F64), 3.0, full(R)
    prior, s = denoiser(x, t)[:, 0], EDM().sigma(t)
    normal = H.T @ torch.linalg.solve(C, H) + lam / s**2 * torch.eye(8, dtype=F64)
    best = torch.linalg.solve(normal, (prior * lam / s**2 + torch.linalg.solve(C, y) @ H).T).T
    point = DiffPIR(denoiser, y, lambda x: x[:, 0] @ H.T, C, lam=lam)(x, t)[:, 0]
    torch.testing.assert_close(point, best, rtol=1e-5, atol=1e-5)


def test_that_diffpir_of_selected_variables_is_the_constant_derivative_zero():
    denoiser, _, y, R, x = gaussian_field(13)
    points = [method(denoiser, y, lambda x: x[:, 0, ::2], R)(x, 0.5) for method in (DiffPIR, ConstantDerivative)]
    torch.testing.assert_close(*points, rtol=1e-5, atol=1e-5)


def test_that_the_full_form_of_sda_at_its_floor_is_gamma():
    denoiser, _, y, R, x = gaussian_field(14)
    observe, nothing = lambda x: x[:, 0, ::2], torch.zeros(8, 8, dtype=F64)
    floored = SDA(denoiser, y, observe, R, covariance=nothing, floor=0.02)(x, 0.5)
    torch.testing.assert_close(floored, SDA(denoiser, y, observe, R, gamma=0.02)(x, 0.5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["jfps", "sda"])
@pytest.mark.parametrize("n", [8, 9])
def test_that_a_circulant_covariance_is_the_dense_one_it_stands_for(method, n):
    column = torch.tensor([2.0, 0.8, 0.2] + [0.0] * (n - 5) + [0.2, 0.8], dtype=F64)
    dense = torch.stack([column.roll(shift) for shift in range(n)], dim=-1)
    denoiser = GaussianDenoiser(torch.zeros(n, dtype=F64), dense, EDM())
    x, y = torch.randn(5, 1, n, generator=torch.Generator().manual_seed(1), dtype=F64), torch.ones(3, dtype=F64)
    results = [
        GUIDANCE[method](denoiser, y, lambda x: x[:, 0, :3], 0.1, covariance=covariance)(x, torch.linspace(0.2, 0.8, 5))
        for covariance in (dense, torch.fft.rfft(column).real)
    ]
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["jfps", "sda"])
@pytest.mark.parametrize("W", [6, 7])
def test_that_a_spectrum_of_a_torus_is_the_dense_covariance_it_stands_for(method, W):
    first = torch.zeros(5, W, dtype=F64)
    first[[0, 1, -1, 0, 0], [0, 0, 0, 1, -1]] = torch.tensor([2.0, 0.3, 0.3, 0.5, 0.5], dtype=F64)
    dense = torch.stack([first.roll((i, j), (0, 1)).flatten() for i in range(5) for j in range(W)])
    denoiser = GaussianDenoiser(torch.zeros(5 * W, dtype=F64), dense, EDM())
    x, y = torch.randn(3, 1, 5, W, generator=torch.Generator().manual_seed(1), dtype=F64), torch.ones(W, dtype=F64)
    results = [
        GUIDANCE[method](denoiser, y, lambda x: x[:, 0, 2], 0.1, covariance=covariance)(x, 0.5)
        for covariance in (dense, torch.fft.rfftn(first).real)
    ]
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "covariance, message",
    [
        (torch.ones(8, 3), "need a matrix"), (-torch.eye(8), "negative eigenvalue"),
        (torch.ones(4, dtype=F64), r"eigenvalues \(4,\), but .* need a matrix \(8, 8\), or the eigenvalues \(5,\)"),
        (torch.eye(8).cumsum(0), "must be symmetric"), (torch.eye(8) * torch.nan, "holds NaN or Inf"),
        (torch.full((5,), torch.nan), "holds NaN or Inf"), (torch.ones(2, 2, 2), r"got shape \(2, 2, 2\)"),
    ],
)  # fmt: skip
def test_that_a_covariance_that_cannot_be_the_data_s_is_refused(covariance, message):
    denoiser, H, y, R, x = gaussian_field(15)
    with pytest.raises(ValueError, match=message):
        GUIDANCE["jfps"](denoiser, y, lambda x: x[:, 0] @ H.T, R, covariance=covariance)(x, 0.5)


def test_that_a_derivative_that_makes_variances_negative_is_refused():
    denoiser, H, y, R, _ = gaussian_field(16)
    with pytest.raises(ValueError, match=r"`derivative` must be at least -1 / sigma\^2 = -0.000156"):
        ConstantDerivative(denoiser, y, lambda x: x[:, 0] @ H.T, R, derivative=-1.0)


def test_that_recording_changes_nothing_and_counts_every_call():
    denoiser, H, y, R, x = gaussian_field(17)
    guided = MomentMatching(denoiser, y, lambda x: x[:, 0] @ H.T, R)
    recorded = Recorded(guided)
    assert torch.equal(HeunSampler(recorded, 5)(80 * x), HeunSampler(guided, 5)(80 * x))
    assert len(recorded.records) == 9
    assert float(recorded.records[0]["t"]) == 1.0


def test_that_a_record_holds_the_residual_and_the_gain_of_one_observation():
    denoiser, _, _, _, x = gaussian_field(18)
    y, t, R = torch.tensor([2.0, torch.nan], dtype=F64), torch.tensor(0.5, dtype=F64), 0.3
    recorded = Recorded(MomentMatching(denoiser, y, lambda x: x[:, 0, 2:4], R))
    correction = recorded(x, t) - denoiser(x, t)
    record, residual = recorded.records[0], (2.0 - denoiser(x, t)[:, 0, 2]).abs()
    probe = torch.eye(8, dtype=F64)[2][None, None]
    V = EDM().sigma(t) ** 2 * (denoiser(probe, t) - denoiser(0 * probe, t))[0, 0, 2]
    torch.testing.assert_close(record["residual"], residual)
    torch.testing.assert_close(record["chi2"], residual**2 / R)
    torch.testing.assert_close(record["weight"], (V / (V + R)).expand(6))
    torch.testing.assert_close(record["correction"], correction.flatten(1).norm(dim=1))


def test_that_records_keep_no_graph():
    denoiser, x = trainable_network()
    recorded = Recorded(DPS(denoiser, torch.ones(4), lambda x: x[:, 0, ::2], 0.5))
    recorded(x, 0.5)
    assert not any(value.requires_grad for value in recorded.records[0].values())


def test_that_a_method_is_found_by_name_and_a_slip_is_answered_with_the_nearest():
    assert guidance_by_name("moment_matching") is MomentMatching
    with pytest.raises(ScoredaError, match="unknown guidance 'momentmatching'; did you mean 'moment_matching'"):
        guidance_by_name("momentmatching")


def test_that_a_spectrum_of_a_ring_is_not_applied_to_the_rows_of_a_plane():
    plane = torch.zeros(2, 1, 4, 8, dtype=F64)
    for refused in (
        CirculantGaussian(0.0, SPECTRUM, EDM()),
        GUIDANCE["jfps"](white_plane(), torch.ones(3, dtype=F64), lambda x: x[:, 0, 0, :3], 0.1, covariance=SPECTRUM),
    ):
        with pytest.raises(ValueError, match=r"\(4, 5\)"):
            refused(plane, torch.tensor(0.5, dtype=F64))


def white_plane():
    return CirculantGaussian(0.0, torch.ones(4, 5, dtype=F64), EDM())


def test_that_a_list_of_variances_is_the_tensor_of_them_in_full_precision():
    denoiser, _, _, R, x = gaussian_field(20)
    y, observe = torch.ones(4, dtype=F64), lambda x: x[:, 0, ::2]
    results = [MomentMatching(denoiser, y, observe, given, weight=0.7)(x, 0.5) for given in (R, R.tolist(), R.numpy())]
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    with pytest.raises(ValueError, match="`R` must be numbers, got 'small' .* Pass variances, obs_std"):
        MomentMatching(denoiser, y, observe, "small")


@every_method
def test_that_observations_of_another_batch_are_refused(case):
    denoiser, H, y, R, x = gaussian_field(21)
    guided = make(case, denoiser, y.expand(4, -1), lambda x: x[:, 0] @ H.T, R)
    with pytest.raises(ValueError, match="`y` has 4 rows, got 6 states. Pass a row for each"):
        guided(x, 0.5)
