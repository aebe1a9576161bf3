"""Every guidance method on a Gaussian-mixture prior with operators that are not linear, against quadrature.

    python benchmarks/guidance.py                # writes benchmarks/results/guidance.csv and prints it; a minute
    python benchmarks/guidance.py --only product # rows whose operator or method contains a word

The score is the sliced Wasserstein-2 distance between 2000 samples of the method and 2000 exact ones, drawn from the
posterior density on a fine grid: mean over seeds with its standard error. Two exact samples are as far apart as the row
`exact` says, and nothing can be told below that. `prior` are samples that never saw the observation. Guided denoisers
are sampled with Heun steps; `twisted_smc` has 2000 particles and as many steps of its own.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from result_tables import update_table
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser, GaussianMixture
from scoreda.diffusion.guidance import GUIDANCE, TwistedSMC
from scoreda.diffusion.samplers import HeunSampler, noise
from scoreda.diffusion.schedules import VPCosine
from scoreda.verification.distances import orthogonal_directions, sliced_wasserstein

RESULTS = Path(__file__).parent / "results" / "guidance.csv"
SEEDS, STEPS, SAMPLES = (1, 2, 3, 4, 5), (20, 64), 2000
DIRECTIONS = orthogonal_directions(2, 64, np.random.default_rng(0))
F64 = torch.float64

# Three unlike humps, about as wide as normalised data.
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=F64)
MEANS = torch.tensor([[0.8, 0.6], [-1.0, 0.5], [0.2, -1.3]], dtype=F64)
COVS = torch.tensor([[[0.3, 0.15], [0.15, 0.2]], [[0.15, -0.05], [-0.05, 0.4]], [[0.5, 0.1], [0.1, 0.1]]], dtype=F64)
PRIOR = GaussianMixture(WEIGHTS, MEANS, COVS, VPCosine())


@dataclass(frozen=True)
class Problem:
    """What is observed of a state (x1, x2), and its error variance."""

    H: Callable[[Tensor], Tensor]  # (B, 1, 2) -> (B, Ny)
    y: Tensor
    R: float


PROBLEMS = {
    "product": Problem(lambda x: x[:, 0, :1] * x[:, 0, 1:], torch.tensor([0.6], dtype=F64), 0.2**2),
    "abs": Problem(lambda x: x[:, 0].abs(), torch.tensor([0.9, 0.7], dtype=F64), 0.2**2),
    "arctan": Problem(lambda x: x[:, 0].arctan(), torch.tensor([0.1, 0.3], dtype=F64), 0.3**2),
}


class Quadrature:
    """The posterior on a grid of cells."""

    def __init__(self, problem: Problem, half_width: float = 5.0, cells: int = 1000) -> None:
        self.width = 2 * half_width / cells
        centres = (torch.arange(cells, dtype=F64) + 0.5) * self.width - half_width
        self.x = torch.cartesian_prod(centres, centres)
        residual = problem.y - problem.H(self.x[:, None])
        log_likelihood = -(residual**2 / problem.R + math.log(math.tau * problem.R)).sum(-1) / 2
        mass = (log_prior(self.x) + log_likelihood).exp() * self.width**2
        self.evidence, self.mass = float(mass.sum()), mass / mass.sum()

    def mean(self, function: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """Return E[function(x) | y]."""
        return self.mass @ function(self.x)

    def sample(self, number: int, generator: torch.Generator) -> Tensor:
        """Draw cells by their mass and points uniformly within them, `(number, 2)`."""
        cell = torch.multinomial(self.mass, number, replacement=True, generator=generator)
        return self.x[cell] + (torch.rand(number, 2, generator=generator, dtype=F64) - 0.5) * self.width


def log_prior(x: Tensor) -> Tensor:
    """Return ln p(x) of states `(n, 2)`."""
    humps = torch.distributions.MultivariateNormal(MEANS, COVS)
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(WEIGHTS), humps)
    return mixture.log_prob(x)


def prior_covariance() -> Tensor:
    """Return the covariance of the whole mixture."""
    anomalies = MEANS - WEIGHTS @ MEANS
    return torch.einsum("k,kij->ij", WEIGHTS, COVS) + torch.einsum("k,ki,kj->ij", WEIGHTS, anomalies, anomalies)


# Settings that a method cannot do without, or that its paper offers as the better form.
VARIANTS = {name: (name, {}) for name in GUIDANCE if name != "jfps"} | {
    "jfps": ("jfps", dict(covariance=prior_covariance())),
    "sda, full": ("sda", dict(covariance=prior_covariance())),
}
METHODS = ["exact", "prior", *sorted(VARIANTS), "twisted_smc"]


def samples(method: str, name: str, steps: int, generator: torch.Generator, number: int = SAMPLES) -> Tensor:
    """Return samples `(number, 2)` of a method."""
    problem = PROBLEMS[name]
    x = noise((number, 1, 2), PRIOR, generator).double()
    if method == "twisted_smc":
        return TwistedSMC(PRIOR, problem.y, problem.H, problem.R, generator, steps)(x)[:, 0]
    return HeunSampler(guided(method, problem), steps)(x)[:, 0]


def guided(method: str, problem: Problem) -> Denoiser:
    """Return the denoiser that a method makes of the prior."""
    if method == "prior":
        return PRIOR
    kind, settings = VARIANTS[method]
    return GUIDANCE[kind](PRIOR, problem.y, problem.H, problem.R, **settings)


def distance(method: str, name: str, steps: int, seed: int, exact: Quadrature, number: int = SAMPLES) -> float:
    """Return the sliced Wasserstein-2 distance of a method's samples to exact ones."""
    generator = torch.Generator().manual_seed(seed)
    reference = exact.sample(number, generator)
    if method == "exact":
        return sliced_wasserstein(exact.sample(number, generator), reference, DIRECTIONS)
    return sliced_wasserstein(samples(method, name, steps, generator, number), reference, DIRECTIONS)


def score(method: str, name: str, steps: int, exact: Quadrature) -> dict[str, object]:
    """Return a row of the table."""
    start = perf_counter()
    distances = [distance(method, name, steps, seed, exact) for seed in SEEDS]
    error = np.std(distances, ddof=1) / np.sqrt(len(distances))
    seconds = perf_counter() - start
    print(f"{name:8} {steps:3} {method:20} {np.mean(distances):.4f} +- {error:.4f}  {seconds:.1f} s", flush=True)
    return dict(
        operator=name, steps=steps, method=method, sliced_wasserstein=f"{np.mean(distances):.4f}",
        standard_error=f"{error:.4f}", worst_seed=f"{np.max(distances):.4f}",
    )  # fmt: skip


def write(rows: list[dict[str, object]]) -> None:
    """Update the rows of the table that were made."""
    update_table(RESULTS, rows, lambda row: (row["operator"], str(row["steps"]), row["method"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose operator or method contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quadratures = {name: Quadrature(problem) for name, problem in PROBLEMS.items()}
    write([
        score(method, name, steps, quadratures[name])
        for name in PROBLEMS for steps in STEPS for method in METHODS
        if arguments.only in f"{name} {method}"
    ])  # fmt: skip
