import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sde_primer as primer
import swiss_roll_law as law
import torch

from scoreda.diffusion import VE

TUTORIALS = Path(__file__).parents[2] / "docs/tutorials"
WORDS = ("schedule", "method", "sampler", "denoiser")


@pytest.fixture
def roll():
    points = law.make_swiss_roll(20_000, np.random.default_rng(0))
    return law.Roll(law.Normaliser.of(points))


def run(name, out):
    """The tables that a tutorial leaves after a quick run, and the names of its figures."""
    script = [sys.executable, str(TUTORIALS / f"{name}.py"), "--quick", "--out", str(out)]
    done = subprocess.run(script, capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    tables = {path.stem: list(csv.DictReader(path.read_text().splitlines())) for path in out.glob("*.csv")}
    return tables, {path.stem for path in out.iterdir() if path.suffix in (".png", ".gif")}


# --- one variable ---------------------------------------------------------------------------------------------------


def test_that_quantiles_of_the_mixture_have_its_moments():
    x = primer.quantiles(0.0, 100_000)
    assert x.mean() == pytest.approx(1.2, abs=1e-3)
    assert x.var() == pytest.approx(primer.VARIANCE, rel=1e-3)
    assert primer.quantiles(0.2, 100_000).var() == pytest.approx(primer.variance(0.2), rel=1e-3)


def test_that_the_variance_of_euler_steps_is_their_recursion():
    h, v = 0.01, primer.VARIANCE
    for _ in range(7):
        v = (1 - primer.MU * h) ** 2 * v + primer.SIGMA**2 * h
    assert primer.stepped_variance(7, h) == pytest.approx(v, rel=1e-12)


def test_that_a_constant_rate_wastes_more_than_half_of_its_steps():
    # exp(-10 t) = .01 / 1.01 where the signal-to-noise ratio is .01
    assert primer.wasted(primer.OU) == pytest.approx(1 - np.log(101) / 10, abs=2e-4)


@pytest.mark.slow
def test_that_the_primer_runs_and_its_samples_follow_the_exact_law(tmp_path):
    tables, figures = run("sde_primer", tmp_path / "out")
    assert figures == {"forward", "histograms", "potentials", "amplitude", "log_snr", "reverse"}
    for row in map(as_numbers, tables["variance"]):
        assert abs(row["empirical"] - row["stepped"]) < 4 * row["standard_error"]
    for row in map(as_numbers, tables["amplitude"]):
        assert row["amplitude_0"] < 0.1
        assert max(row["amplitude_0_5"], row["amplitude_1"]) < 2 * row["floor"] + 0.02
    many, few, heun, _ = (float(row["white_noise"]) for row in tables["samplers"])
    assert max(many, heun) < 0.15 < few


# --- the Swiss roll -------------------------------------------------------------------------------------------------


def test_that_the_roll_has_the_density_that_its_points_have(roll):
    x = torch.tensor(roll.normaliser.apply(law.make_swiss_roll(50_000, np.random.default_rng(1)))).float()
    posterior = law.Posterior(roll, law.Problem(VE(), 0.0, float("inf")), cells=240)
    area, observed = (posterior.cell) ** 2, torch.histogramdd(x, bins=24, range=[-2.4, 2.4, -2.4, 2.4]).hist / len(x)
    assert float(roll.density(posterior.x).sum()) * area == pytest.approx(1, abs=1e-3)
    expected = posterior.mass.reshape(24, 10, 24, 10).sum((1, 3))
    z = (observed - expected) / (expected / len(x)).sqrt().clamp_min(1 / len(x))
    assert float(z.abs().max()) < 5


def test_that_branches_end_between_crossings_and_their_weights_are_those_of_reweighted_points(roll):
    problem = law.Problem(VE(), 0.2, 0.05)
    posterior = law.Posterior(roll, problem, cells=240)
    assert len(posterior.weights) == 6
    assert posterior.weights.sum() == pytest.approx(1)
    x = torch.tensor(roll.normaliser.apply(law.make_swiss_roll(200_000, np.random.default_rng(2)))).float()
    likelihood = problem.log_likelihood(x).double().exp()
    kept = x[torch.multinomial(likelihood, 20_000, replacement=True, generator=torch.Generator().manual_seed(0))]
    np.testing.assert_allclose(posterior.branches(kept), posterior.weights, atol=0.015)


def test_that_draws_of_the_quadrature_are_on_the_roll_and_have_the_observation(roll):
    posterior = law.Posterior(roll, law.Problem(VE(), 0.2, 0.05), cells=240)
    x = posterior.sample(4000, torch.Generator().manual_seed(0))
    assert roll.off(x) < 0.005
    assert float(law.product(x).mean()) == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(posterior.branches(x), posterior.weights, atol=0.03)


@pytest.mark.slow
def test_that_the_roll_runs_and_twisted_particles_are_nearer_to_the_posterior_than_guidance(tmp_path):
    tables, figures = run("swiss_roll", tmp_path / "out")
    assert figures == {"score", "samples", "posterior_VE", "posterior_VP"}
    for row in map(as_numbers, tables["loss"]):
        assert row["optimum"] < row["network"] < 1
    unconditional = {(row["schedule"], row["denoiser"]): as_numbers(row) for row in tables["unconditional"][:4]}
    assert all(unconditional[name, "exact"]["sw_value"] < 0.3 for name in ("VE", "VP"))
    for name in ("VE", "VP"):
        rows = {row["method"]: as_numbers(row) for row in tables[f"posterior_{name}"]}
        distance = {method: row["exact_sw"] for method, row in rows.items()}
        assert distance["twisted_smc"] < 0.6 * distance["dps"]
        assert distance["twisted_smc"] < 0.8 * distance["prior"]
        assert rows["twisted_smc"]["exact_moved"] < 0.6 * rows["moment_matching"]["exact_moved"]
        assert rows["fi6"]["exact_residual_std"] > 1.2 * rows["exact posterior"]["exact_residual_std"]
        assert rows["fi6"]["stayed"] > 0.5 > rows["exact posterior"]["stayed"]


def as_numbers(row):
    """The cells of a row that are numbers."""
    return {name: float(cell) for name, cell in row.items() if cell and name not in WORDS}
