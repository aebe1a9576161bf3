"""The shipped prior's negative log-likelihood in bits per dimension on held-out states, beside a Gaussian's.

    OMP_NUM_THREADS=1 python benchmarks/likelihood.py    # writes results/likelihood.csv and prints it; two minutes
    python benchmarks/likelihood.py runs/prior          # another prior; prints only

States of Lorenz96 from initial values nobody trained on, in normalised units (physical ones add log2 of the
normaliser's standard deviation, 1.86 bits), with the `noise` added at which the likelihood is taken: the attractor has
fewer dimensions than the space, so a density without noise would grow for ever. `gaussian` is the closed form of the
climatology's mean and covariance with the same noise. Standard errors are over states, and hold the error of the probes
of Hutchinson's trace; `gain` is the difference to the Gaussian on the same states, paired. Rows of few states compare
the two traces: there the standard error of the probed one is that of its probes alone, and the exact one has none.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from result_tables import write_table
from torch import Tensor

from scoreda.datasets import climate_states, climatology
from scoreda.diffusion import LogLikelihood, Prior, VPCosine, load_prior, log_likelihood
from scoreda.models import Lorenz96

RESULTS = Path(__file__).parent / "results" / "likelihood.csv"
MODEL = Lorenz96(size=40, forcing=8.0, dt=0.05)
LEVELS, STATES, FEW, BATCH = (0.002, 0.02, 0.2), 256, 8, 32
STEPS = 64  # 48 and 96 differ by .003 bits


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def held_out(prior: Prior) -> Tensor:
    """Return normalised states `(STATES, 1, Nx)`, float32."""
    return prior.tensor(climate_states(MODEL, STATES, np.random.default_rng(20261124)))


def learned(prior: Prior, x: Tensor, level: float, trace: str, probes: int) -> LogLikelihood:
    """Return the densities of states at noise `level`; VP coordinates, in which they hardly move, need fewest steps."""
    denoiser = prior.under(VPCosine(math.atan(level), margin=0.025)).denoiser
    parts = [
        log_likelihood(denoiser, part, STEPS, trace, probes, generator(k)) for k, part in enumerate(x.split(BATCH))
    ]
    nats, errors = (torch.cat([getattr(p, name) for p in parts]) for name in ("nats", "standard_error"))
    return LogLikelihood(nats.double(), errors.double(), x[0].numel())


def gaussian(prior: Prior, x: Tensor, level: float) -> LogLikelihood:
    """Return the densities of the same states under the climatology's Gaussian."""
    climate = climatology(MODEL, np.random.default_rng(20261125), samples=100_000, trajectories=5000)
    mean, std = prior.normaliser.apply(climate.mean), prior.normaliser.std
    cov = torch.as_tensor(climate.cov / std**2) + level**2 * torch.eye(MODEL.size, dtype=torch.float64)
    density = torch.distributions.MultivariateNormal(torch.as_tensor(mean), cov)
    nats = density.log_prob(x[:, 0].double())
    return LogLikelihood(nats, torch.zeros_like(nats), MODEL.size)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def row(level: float, name: str, trace: str, found: LogLikelihood, beside: LogLikelihood | None = None) -> dict:
    """Return a row of the table, printed."""
    bits, error = mean_and_error(found.bits_per_dimension)
    gain = None if beside is None else mean_and_error(beside.bits_per_dimension - found.bits_per_dimension)
    made = dict(
        noise=level, prior=name, trace=trace, states=len(found.nats), bits_per_dimension=f"{bits:.4f}",
        standard_error=f"{error:.4f}", gain=gain and f"{gain[0]:.4f}", gain_error=gain and f"{gain[1]:.4f}",
    )  # fmt: skip
    print(*(f"{value!s:12}" for value in made.values()), flush=True)
    return made


def traces(prior: Prior, x: Tensor, level: float) -> list[dict]:
    """Return the rows of the exact trace and of many probes on the same few states."""
    exact, probed = learned(prior, x, level, "exact", 1), learned(prior, x, level, "hutchinson", 16)
    rows = [row(level, "learned", "exact", exact), row(level, "learned", "hutchinson, 16 probes", probed)]
    bits = probed.standard_error.square().sum().sqrt() / len(x) / (probed.dimensions * math.log(2))
    return [rows[0] | dict(standard_error=""), rows[1] | dict(standard_error=f"{float(bits):.4f}")]


def measure(prior: Prior) -> list[dict]:
    """Return the table."""
    clean, table = held_out(prior), []
    for level in LEVELS:
        x = clean + level * torch.randn(clean.shape, generator=generator(0))
        normal = gaussian(prior, x, level)
        table.append(row(level, "gaussian", "closed form", normal))
        probed = learned(prior, x, level, "hutchinson", 2)
        table.append(row(level, "learned", "hutchinson, 2 probes", probed, normal))
    return table + traces(prior, clean[:FEW], LEVELS[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", nargs="?", default="lorenz96", help="a shipped prior's name, a folder or a file")
    chosen = parser.parse_args().prior
    torch.set_num_threads(1)
    measured = measure(load_prior(chosen))
    if chosen == "lorenz96":
        write_table(RESULTS, measured)
