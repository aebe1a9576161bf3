"""Each system against its printed equations, one index at a time, and against its published climate."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from scoreda.datasets import climatology
from scoreda.models import (
    WILKS_CLOSURE,
    KuramotoSivashinsky,
    Lorenz05,
    Lorenz63,
    Lorenz96,
    TruncatedLorenz96,
    TwoScaleLorenz96,
    from_spec,
)


def random_state(size, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, size)


def test_that_lorenz63_is_the_printed_equation():
    x, y, z = 1.5, -2.0, 20.0
    expected = [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]
    np.testing.assert_allclose(Lorenz63().tendency([[x, y, z]]), [expected], rtol=1e-15)


def two_scales_by_index(z, K, J, F, h, c, b):
    """Wilks (2005), eqs. 1 and 2, as printed."""
    X, Y = z[:K], z[K:]
    slow = [
        X[(k - 1) % K] * (X[(k + 1) % K] - X[(k - 2) % K]) - X[k] + F - h * c / b * sum(Y[J * k : J * (k + 1)])
        for k in range(K)
    ]
    n = K * J
    fast = [
        -c * b * Y[(j + 1) % n] * (Y[(j + 2) % n] - Y[(j - 1) % n]) - c * Y[j] + h * c / b * X[j // J] for j in range(n)
    ]
    return slow + fast


def test_that_the_two_scale_model_is_the_printed_equation():
    model = TwoScaleLorenz96(5, 3, forcing=11.0, coupling=0.8, scale_ratio=7.0, time_ratio=4.0)
    z = random_state(20)
    expected = two_scales_by_index(z.tolist(), 5, 3, 11.0, 0.8, 4.0, 7.0)
    np.testing.assert_allclose(model.tendency(z[None]), [expected], atol=1e-12)


def test_that_the_truncated_model_is_lorenz96_less_a_polynomial():
    x = random_state((2, 8))
    expected = Lorenz96(8, forcing=20.0).tendency(x) - (0.3 + 1.2 * x - 0.5 * x**3)
    np.testing.assert_allclose(TruncatedLorenz96(closure=(0.3, 1.2, 0.0, -0.5)).tendency(x), expected, atol=1e-12)


def primed(radius, halved, term):
    """A symmetric sum of `term(i)`; its end terms are halved if asked for."""
    inside = sum(term(i) for i in range(-radius + 1, radius))
    ends = term(-radius) + (term(radius) if radius else 0.0)
    return inside * (radius > 0) + ends * (0.5 if halved else 1.0)


def bracket_by_index(X, Y, K, n):
    """Lorenz (2005), eq. 8, the double sum as printed."""
    N, J, halved = len(X), K // 2, K % 2 == 0

    def term(j, i):
        first = X[(n - 2 * K - i) % N] * Y[(n - K - j) % N]
        return -first + X[(n - K + j - i) % N] * Y[(n + K + j) % N]

    return primed(J, halved, lambda j: primed(J, halved, lambda i: term(j, i))) / K**2


def lorenz05_by_index(Z, K, I, b, c, F):
    """Lorenz (2005), eqs. 13-15."""
    N = len(Z)
    alpha, beta = (3 * I**2 + 3) / (2 * I**3 + 4 * I), (2 * I**2 + 1) / (I**4 + 2 * I**2)
    X = [primed(I, True, lambda i, n=n: (alpha - beta * abs(i)) * Z[(n + i) % N]) for n in range(N)]
    Y = [z - x for z, x in zip(Z, X, strict=True)]
    return [
        bracket_by_index(X, X, K, n)
        + b**2 * bracket_by_index(Y, Y, 1, n)
        + c * bracket_by_index(Y, X, 1, n)
        - X[n] - b * Y[n] + F
        for n in range(N)
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "split"), [(4, 3), (3, 2), (1, 4)])
def test_that_lorenz05_is_the_printed_equation(width, split):
    model = Lorenz05(20, forcing=9.0, width=width, split=split, scale_ratio=6.0, coupling=2.0)
    z = random_state(20)
    expected = lorenz05_by_index(z.tolist(), width, split, 6.0, 2.0, 9.0)
    np.testing.assert_allclose(model.tendency(z[None]), [expected], atol=1e-11)


def test_that_lorenz05_without_smoothing_is_lorenz96():
    z = random_state((2, 12))
    np.testing.assert_allclose(Lorenz05(12, 8.0, width=1, split=1).tendency(z), Lorenz96(12).tendency(z), atol=1e-12)


def test_that_the_split_of_lorenz05_leaves_quadratics_to_the_long_waves():
    """Away from the jump of the ring, a parabola has no short waves: they would be damped `b` times as fast."""
    i = np.arange(64.0)
    z = 1 + 0.3 * i - 0.02 * i**2
    tendencies = [Lorenz05(64, width=2, split=3, scale_ratio=b, coupling=0.0).tendency(z[None]) for b in (1.0, 9.0)]
    np.testing.assert_allclose(tendencies[0][0, 10:54], tendencies[1][0, 10:54], rtol=1e-9)


def test_that_kuramoto_sivashinsky_follows_the_equation_on_dense_derivative_matrices():
    """An adaptive integrator on derivatives that are exact for every wave of the grid but the shortest."""
    size, length = 24, 20.0
    identity = np.eye(size)
    k = 2 * np.pi / length * np.fft.fftfreq(size, 1 / size)
    first = np.fft.ifft(
        1j * np.where(np.arange(size) == size // 2, 0, k)[:, None] * np.fft.fft(identity, axis=0), axis=0
    )
    linear = np.fft.ifft((k**2 - k**4)[:, None] * np.fft.fft(identity, axis=0), axis=0).real
    x = 2 * np.pi * np.arange(size) / size
    start = np.cos(x) * (1 + np.sin(2 * x)) + 0.3 * np.sin(3 * x)
    solution = solve_ivp(
        lambda _, u: linear @ u - 0.5 * first.real @ u**2, (0, 2), start, "Radau", rtol=1e-9, atol=1e-10
    )
    end = KuramotoSivashinsky(size, length, dt=0.02).step(start[None], 100)[0]
    np.testing.assert_allclose(end, solution.y[:, -1], atol=1e-6)


def test_that_the_error_of_kuramoto_sivashinsky_falls_with_the_fourth_power_of_the_step():
    """Once the step resolves the fastest decay on the grid, 22 per time unit here; with longer steps the order is 3."""
    settings = KuramotoSivashinsky(16, 22.0).spec()
    start = KuramotoSivashinsky(16, 22.0, 0.1).step(np.random.default_rng(4).normal(size=(4, 16)), 500)
    reference = from_spec(settings | {"dt": 1 / 2048}).step(start, 2048)
    steps = np.array([64, 128, 256])
    errors = [np.abs(from_spec(settings | {"dt": 1 / n}).step(start, n) - reference).mean() for n in steps]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(4, abs=0.15)


def test_that_kuramoto_sivashinsky_conserves_the_mean():
    E = 0.7 + KuramotoSivashinsky().random_states(2, np.random.default_rng(5))
    np.testing.assert_allclose(KuramotoSivashinsky().step(E, 100).mean(axis=1), 0.7, atol=1e-12)


def climate(model, samples=2000, spinup=10.0):
    return climatology(model, np.random.default_rng(6), samples, trajectories=500, spinup=spinup)


def test_that_lorenz63_has_its_known_climate():
    """Mean of z 23.55 and standard deviations 7.92, 9.01, 8.62: long runs in the literature agree to three digits."""
    states = climate(Lorenz63(), 8000).states
    np.testing.assert_allclose(states[:, 2].mean(), 23.55, atol=0.5)
    np.testing.assert_allclose(states.std(axis=0), [7.92, 9.01, 8.62], rtol=0.04)


def test_that_the_closure_of_wilks_is_the_mean_effect_of_the_fast_variables():
    """At F = 20 his polynomial has no bias and explains as much of that effect as one fitted here, within 3 %."""
    polynomial = np.polynomial.polynomial
    states = climatology(TwoScaleLorenz96(), np.random.default_rng(7), 400, trajectories=100, spinup=5.0).states
    X, effect = states[:, :8].ravel(), states[:, 8:].reshape(-1, 32).sum(-1)
    residual = effect - polynomial.polyval(X, WILKS_CLOSURE)
    best = effect - polynomial.polyval(X, polynomial.polyfit(X, effect, 4))
    assert abs(residual.mean()) < 0.15
    assert residual.var() - best.var() < 0.03 * effect.var()


def test_that_the_two_scale_model_has_its_known_spread():
    """A climatological RMSE of .93 over all variables on the setting of Wilks (2005)."""
    states = climatology(TwoScaleLorenz96(), np.random.default_rng(8), 400, trajectories=200, spinup=5.0).states
    rmse = np.sqrt(((states - states.mean(axis=0)) ** 2).mean(axis=1)).mean()
    assert rmse == pytest.approx(0.93, abs=0.02)


def test_that_kuramoto_sivashinsky_has_its_known_spread():
    """A climatological RMSE of 1.3 on the setting of Bocquet & Farchi (2019)."""
    states = climate(KuramotoSivashinsky(), 500, spinup=150.0).states
    assert states.std() == pytest.approx(1.3, abs=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lorenz63(rayleigh=np.nan), "parameters must be finite"),
        (lambda: TwoScaleLorenz96(3, 4), "`slow` >= 4"),
        (lambda: TwoScaleLorenz96(time_ratio=0.0), "ratios positive"),
        (lambda: TruncatedLorenz96(3), "`size` must be at least 4"),
        (lambda: TruncatedLorenz96(closure=()), "must be finite"),
        (lambda: Lorenz05(60, width=32), "exceed twice"),
        (lambda: Lorenz05(coupling=np.inf), "parameters must be finite"),
        (lambda: KuramotoSivashinsky(127), "must be even"),
        (lambda: KuramotoSivashinsky(length=-1.0), "must be positive"),
        (lambda: from_spec({"name": "kuramoto"}), "unknown model 'kuramoto'"),
    ],
)
def test_that_senseless_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
