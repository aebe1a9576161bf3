"""Posteriors with several modes and operators that are not linear: a fast part of benchmarks/guidance.py."""

import csv
import math
from pathlib import Path

import guidance as bench
import pytest
import torch

from scoreda.diffusion.guidance import TwistedSMC
from scoreda.diffusion.samplers import noise

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "guidance.py"
F64 = torch.float64
NAMES = ("product", "abs", "arctan")


@pytest.fixture(scope="module")
def quadratures():
    return {name: bench.Quadrature(problem, cells=500) for name, problem in bench.PROBLEMS.items()}


def test_that_the_grid_is_wide_and_fine_enough(quadratures):
    assert float(bench.log_prior(quadratures["abs"].x).exp().sum()) * 0.02**2 == pytest.approx(1, abs=1e-6)
    finer = bench.Quadrature(bench.PROBLEMS["abs"], half_width=6.0, cells=1000)
    assert quadratures["abs"].evidence == pytest.approx(finer.evidence, rel=1e-3)
    torch.testing.assert_close(quadratures["abs"].mean(), finer.mean(), rtol=0, atol=1e-3)


def test_that_samples_of_the_grid_have_its_mean(quadratures):
    drawn = quadratures["product"].sample(20000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), quadratures["product"].mean(), rtol=0, atol=0.03)


def features(x):
    """Mean, second moments, and the probability of one side: what tells modes apart."""
    return torch.cat([x, x**2, x[:, :1] * x[:, 1:], (x[:, :1] > 0).to(x)], dim=1)


def twisted_estimates(problem, seed):
    g = torch.Generator().manual_seed(seed)
    x = noise((1000, 1, 2), bench.PRIOR, g).double()
    result = TwistedSMC(bench.PRIOR, problem.y, problem.H, problem.R, g, steps=60).run(x)
    evidence = torch.tensor([math.exp(result.log_evidence)], dtype=F64)
    return torch.cat([result.mean(lambda x: features(x[:, 0])), evidence])


@pytest.mark.parametrize("name", NAMES)
def test_that_twisted_particles_agree_with_quadrature_within_their_monte_carlo_error(name, quadratures):
    estimates = torch.stack([twisted_estimates(bench.PROBLEMS[name], seed) for seed in range(8)])
    exact = quadratures[name]
    error = estimates.mean(0) - torch.cat([exact.mean(features), torch.tensor([exact.evidence], dtype=F64)])
    se = estimates.std(0) / math.sqrt(len(estimates))
    assert (error.abs() < 4.5 * se + 0.015).all(), "0.015 is what 60 steps may cost"
    assert (se < 0.04).all(), "the test resolves four per cent"


def mean_distance(method, name, quadratures, seeds=(11, 12, 13)):
    distances = [bench.distance(method, name, 20, seed, quadratures[name], number=800) for seed in seeds]
    return sum(distances) / len(distances)


@pytest.mark.parametrize("name", NAMES)
def test_that_methods_rank_as_their_theory_says(name, quadratures):
    exact, twisted, moments, dps, prior = (
        mean_distance(method, name, quadratures)
        for method in ("exact", "twisted_smc", "moment_matching", "dps", "prior")
    )
    assert exact < 0.6 * moments, "the samples tell a biased method from an exact one"
    assert twisted < 0.8 * moments
    assert moments < 0.75 * dps
    assert moments < 0.96 * prior, "by little for |x|, whose modes a linearisation does not see"


def test_that_the_table_has_every_registered_method():
    with bench.RESULTS.open() as file:
        rows = {(row["operator"], row["method"]) for row in csv.DictReader(file)}
    assert rows == {(name, method) for name in bench.PROBLEMS for method in bench.METHODS}
