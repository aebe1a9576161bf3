"""The learned prior alone: denoising one snapshot, and the statistics of samples, beside a Gaussian and the model.

    python benchmarks/prior.py                # the shipped prior; about three minutes on one core
    python benchmarks/prior.py runs/prior     # another

Denoising: 20,000 independent states of Lorenz96, all variables observed with noise of one standard deviation; RMSE of
the denoised state with its standard error over states. Wiener: the same with the Gaussian of the climatology,
circulant. Samples: 10,000 draws with 32 Heun steps against 100,000 states of the model.
"""

import argparse

import numpy as np

from scoreda.datasets import climate_states, climatology
from scoreda.diffusion import Prior, load_prior
from scoreda.models import Lorenz96

MODEL = Lorenz96(size=40, forcing=8.0, dt=0.05)
REFERENCE = {0.25: (0.248, 0.22), 0.5: (0.491, 0.42), 1.0: (0.947, 0.79), 2.0: (1.69, 1.46)}


def circulant(cov: np.ndarray) -> np.ndarray:
    """Average a covariance over the rotations of the ring."""
    size = len(cov)
    return np.mean([np.roll(cov, (k, k), axis=(0, 1)) for k in range(size)], axis=0)


def rmse(errors: np.ndarray) -> tuple[float, float]:
    """Return root mean square of errors `(n, Nx)` and its standard error over the n states."""
    squares = (errors**2).mean(axis=1)
    value = np.sqrt(squares.mean())
    return float(value), float(squares.std() / np.sqrt(len(squares)) / (2 * value))


def denoising(prior: Prior) -> None:
    rng = np.random.default_rng(20261122)
    states = climate_states(MODEL, 20_000, rng)
    climate = climatology(MODEL, rng, samples=100_000, trajectories=5000)
    mean, cov = climate.mean.mean(), circulant(climate.cov)
    print("noise   learned           Wiener            reference: Wiener, wanted")
    for sigma, (wiener, wanted) in REFERENCE.items():
        z = states + sigma * rng.normal(size=states.shape)
        learned = np.concatenate([prior.denoise(part, sigma) for part in np.array_split(z, 40)])
        linear = mean + (z - mean) @ np.linalg.solve(cov + sigma**2 * np.eye(len(cov)), cov)
        row = [*rmse(learned - states), *rmse(linear - states)]
        print("{:5.2f}   {:.4f} +- {:.4f}   {:.4f} +- {:.4f}   {}, {}".format(sigma, *row, wiener, wanted))


def statistics(states: np.ndarray) -> list[float]:
    """Return mean, standard deviation and correlations at lags 1 to 4."""
    x = states - states.mean()
    lags = [float((x * np.roll(x, -k, axis=1)).mean() / (x**2).mean()) for k in range(1, 5)]
    return [float(states.mean()), float(states.std()), *lags]


def sampling(prior: Prior) -> None:
    rng = np.random.default_rng(20261123)
    truth = np.concatenate([climate_states(MODEL, 10_000, rng) for _ in range(10)])
    drawn = prior.sample(10_000, MODEL.size, seed=1)
    print("            mean    std     lag 1   lag 2   lag 3   lag 4")
    for name, states in {"samples": drawn, "model": truth}.items():
        print(f"{name:8}", *(f"{v:7.3f}" for v in statistics(states)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", nargs="?", default="lorenz96", help="a shipped prior's name, a folder or a file")
    chosen = load_prior(parser.parse_args().prior)
    denoising(chosen)
    sampling(chosen)
