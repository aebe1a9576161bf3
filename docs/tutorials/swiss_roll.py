"""The Swiss roll: a prior in the plane, an observation that is not linear, and the bias of every guidance method.

    python docs/tutorials/swiss_roll.py                           # full settings, three minutes of one core
    python docs/tutorials/swiss_roll.py --quick --out runs/quick  # small ones, seconds: only shows that it runs

Trains one small network under each of two schedules, draws from it with and without the observation y = x1 x2, and
compares the draws with the exact law of the roll and with the exact posterior. Every method runs twice: with the exact
denoiser, so that what is wrong is the method, and with the network. Units are normalised throughout.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from swiss_roll_figures import posterior_figure, samples_figure, score_figure
from swiss_roll_law import HALF_WIDTH, Posterior, Problem, Roll, make_swiss_roll, product
from tables import report
from torch import Tensor

from scoreda.datasets import Normaliser
from scoreda.diffusion import (
    GUIDANCE,
    PRESETS,
    VE,
    Denoiser,
    EulerMaruyamaSampler,
    HeunSampler,
    KarrasDenoiser,
    Schedule,
    Trainer,
    TrainSettings,
    TwistedSMC,
    VPLinear,
    network_from_spec,
    noise,
    noised,
)
from scoreda.verification.distances import compare, energy_distance, orthogonal_directions, sliced_wasserstein

# The two problems of the source, and the loss its networks ended with.
PROBLEMS = {"VE": Problem(VE(), y=0.2, obs_std=0.05), "VP": Problem(VPLinear(), y=-0.2, obs_std=0.1)}
NOTHING_OBSERVED = Problem(VE(), y=0.0, obs_std=float("inf"))
SOURCE_LOSS = {"VE": 0.4112, "VP": 0.2298}
DIRECTIONS = orthogonal_directions(2, 64, np.random.default_rng(0))

Draw = Callable[[Denoiser, torch.Generator], Tensor]


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    points: int = 20_000  # training data
    updates: int = 10_000  # of each training
    samples: int = 1000  # of every method
    seeds: int = 3
    steps: int = 50  # of Heun's method, 99 evaluations of the denoiser
    fine_steps: int = 200  # where 50 are not enough, and of twisted particles
    cells: int = 480  # of the quadrature, along each axis
    resamples: int = 60  # of the intervals


QUICK = Scale(points=4000, updates=400, samples=250, seeds=1, steps=25, fine_steps=60, cells=240, resamples=10)


# --- the prior ------------------------------------------------------------------------------------------------------


def learned(schedule: Schedule, data: Tensor, updates: int, folder: Path) -> Denoiser:
    """Return a perceptron of 4,418 parameters, trained under a schedule on points `(n, 2)`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = network_from_spec(PRESETS["swiss_roll_mlp"])
    settings = TrainSettings(
        steps=updates, batch=512, levels="uniform_time", lr=1e-2, warmup=100, weight_decay=0.0, ema=0.998
    )
    held_out = len(data) // 20
    trainer = Trainer(KarrasDenoiser(network, schedule), data[held_out:], data[:held_out], settings, folder)
    if (folder / "last.pt").is_file():
        trainer.resume()
    return trainer.run()


@torch.no_grad()
def noise_loss(denoiser: Denoiser, x: Tensor) -> float:
    """Return the mean square error of the predicted noise, t even between 0 and 1: the loss of the source."""
    t = (torch.arange(len(x)) + 0.5) / len(x)
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    x_t = noised(denoiser.schedule, x, t, eps)
    alpha_t, sigma_t = denoiser.schedule.alpha(t)[:, None], denoiser.schedule.sigma(t)[:, None]
    return float(((x_t - alpha_t * denoiser(x_t, t)) / sigma_t - eps).square().mean())


def from_noise(steps: int, samples: int) -> Draw:
    """Return Heun's method from the noise at t = 1."""
    return lambda denoiser, generator: HeunSampler(denoiser, steps, spacing="log_snr")(
        noise((samples, 2), denoiser, generator)
    )


def from_halfway(steps: int, samples: int, start: float) -> Draw:
    """Return the way of the source under VP: Euler-Maruyama steps to the end, from N(0, I) at `start`."""
    return lambda denoiser, generator: EulerMaruyamaSampler(denoiser, steps, generator, final="none")(
        torch.randn((samples, 2), generator=generator), start
    )


def ways(
    roll: Roll, networks: Mapping[str, Denoiser], scale: Scale
) -> Iterator[tuple[dict[str, str], Callable[[torch.Generator], Tensor]]]:
    """Yield every way to draw from the prior, and what it is called."""
    names = f"Heun {scale.steps}, from t = 1", f"Euler-Maruyama {2 * scale.steps}, from t = 0.4"
    heun, halfway = from_noise(scale.steps, scale.samples), from_halfway(2 * scale.steps, scale.samples, 0.4)
    for schedule, sampler, draw in (("VE", names[0], heun), ("VP", names[0], heun), ("VP", names[1], halfway)):
        exact = roll.denoiser(PROBLEMS[schedule].schedule)
        for name, denoiser in {"exact": exact, "network": networks[schedule]}.items():
            yield dict(schedule=schedule, sampler=sampler, denoiser=name), partial(draw, denoiser)
    # The same roll if its mean had not been taken out but stood one standard deviation off in both variables.
    moved = Roll(Normaliser(roll.normaliser.mean - roll.normaliser.std, roll.normaliser.std))
    for sampler, draw in zip(names, (heun, halfway), strict=True):
        exact = moved.denoiser(PROBLEMS["VP"].schedule)
        row = dict(schedule="VP", sampler=sampler, denoiser="exact, mean 1")
        yield row, partial(lambda draw, exact, generator: draw(exact, generator) - 1, draw, exact)


def unconditional(
    roll: Roll, networks: Mapping[str, Denoiser], scale: Scale
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Yield one row for each way to draw from the prior, compared with fresh data, and the draws."""
    rng, generator = np.random.default_rng(5), torch.Generator().manual_seed(5)
    data = roll.normaliser.apply(make_swiss_roll(scale.samples, rng))
    for row, draw in ways(roll, networks, scale):
        x = draw(generator)
        yield row | dict(off=roll.off(x)) | distances(x.numpy(), data, rng, scale.resamples), x


def distances(x: np.ndarray, data: np.ndarray, rng: np.random.Generator, resamples: int) -> dict[str, float]:
    """Return sliced Wasserstein-2 and energy distance of two samples, with their intervals and noise floors."""
    sliced = compare(lambda X, Y: sliced_wasserstein(X, Y, DIRECTIONS), x, data, rng, resamples, power=2.0)
    energy = compare(energy_distance, x, data, rng, resamples)
    found = {"sw": sliced, "energy": energy}
    return {f"{name}_{key}": value for name, values in found.items() for key, value in values._asdict().items()}


# --- the posterior --------------------------------------------------------------------------------------------------


def methods(problem: Problem, covariance: Tensor, scale: Scale) -> dict[str, Draw]:
    """Return every way to draw from p(x | y); `covariance` `(2, 2)` is that of the data."""

    def guided(name: str, **settings: Any) -> Callable[[Denoiser], Denoiser]:
        return lambda prior: GUIDANCE[name](prior, problem.values, product, problem.obs_std**2, **settings)

    def heun(guide: Callable[[Denoiser], Denoiser], steps: int = scale.steps) -> Draw:
        return lambda prior, generator: from_noise(steps, scale.samples)(guide(prior), generator)

    def twisted(prior: Denoiser, generator: torch.Generator) -> Tensor:
        particles = TwistedSMC(prior, problem.values, product, problem.obs_std**2, generator, scale.fine_steps)
        return particles(noise((scale.samples, 2), prior, generator))

    fine = {f"{name}, fine": heun(guided(name), scale.fine_steps) for name in ("dps", "sda")}
    full = {"sda, full": heun(guided("sda", covariance=covariance))}
    settings = {"jfps": dict(covariance=covariance)}
    plain = {name: heun(guided(name, **settings.get(name, {}))) for name in GUIDANCE}
    named = dict(sorted((plain | fine | full).items()))
    halfway = from_halfway(2 * scale.steps, scale.samples, 0.4)
    if isinstance(problem.schedule, VPLinear):
        named["fi6, from t = 0.4"] = lambda prior, generator: halfway(guided("fi6")(prior), generator)
    return {"prior": from_noise(scale.steps, scale.samples)} | named | {"twisted_smc": twisted}


def conditional(
    name: str, posterior: Posterior, network: Denoiser, covariance: Tensor, scale: Scale
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Yield one row for each method, and what it drew with the exact denoiser from the first seed."""
    denoisers = {"exact": posterior.roll.denoiser(PROBLEMS[name].schedule), "network": network}
    free = seeds_of(from_noise(scale.steps, scale.samples), denoisers["exact"], scale.seeds)
    ways = {"exact posterior": lambda prior, generator: posterior.sample(scale.samples, generator)}
    for method, draw in (ways | methods(PROBLEMS[name], covariance, scale)).items():
        runs = {prior: seeds_of(draw, denoiser, scale.seeds) for prior, denoiser in denoisers.items()}
        row: dict[str, Any] = dict(schedule=name, method=method, stayed=posterior.agreement(runs["exact"], free))
        for prior, draws in runs.items():
            row |= {f"{prior}_{key}": value for key, value in scores(draws, posterior, PROBLEMS[name]).items()}
        yield row, runs["exact"][0]


def seeds_of(draw: Draw, denoiser: Denoiser, seeds: int) -> list[Tensor]:
    """Return the draws of several seeds."""
    return [draw(denoiser, torch.Generator().manual_seed(100 + seed)) for seed in range(seeds)]


def scores(draws: list[Tensor], posterior: Posterior, problem: Problem) -> dict[str, Any]:
    """Return how far the draws of several seeds are from the exact posterior; `sw_se` is NaN for one seed.

    A draw that ran away counts as one on the edge of the plane.
    """
    generator = torch.Generator().manual_seed(7)
    draws = [x.nan_to_num(HALF_WIDTH).clamp(-HALF_WIDTH, HALF_WIDTH) for x in draws]
    distances = [sliced_wasserstein(x, posterior.sample(4 * len(x), generator), DIRECTIONS) for x in draws]
    x = torch.cat(draws)
    residual, branches = problem.y - product(x)[:, 0], posterior.branches(x)
    moments = dict(residual_mean=float(residual.mean()), residual_std=float(residual.std()), off=posterior.roll.off(x))
    weights = {f"branch_{k + 1}": float(share) for k, share in enumerate(branches)}
    moved = float(np.abs(branches - posterior.weights).sum() / 2)
    return dict(sw=float(np.mean(distances)), sw_se=standard_error(distances), **moments, moved=moved) | weights


def standard_error(values: list[float]) -> float:
    """Return the standard error of the mean, NaN for a single value."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


# --- the page -------------------------------------------------------------------------------------------------------


def loss_rows(roll: Roll, networks: Mapping[str, Denoiser], number: int) -> list[dict[str, Any]]:
    """Return the loss of each network on fresh data, and what no network can beat."""
    x = torch.tensor(roll.normaliser.apply(make_swiss_roll(number, np.random.default_rng(1))), dtype=torch.float32)
    return [
        dict(schedule=name, source=SOURCE_LOSS[name], network=noise_loss(network, x),
             optimum=noise_loss(roll.denoiser(network.schedule), x))
        for name, network in networks.items()
    ]  # fmt: skip


def start_rows(roll: Roll, data: Tensor) -> list[dict[str, float]]:
    """Return how far p_t is from N(0, I) under VP: the error of a run that starts there, before its first step.

    Also for data whose mean is not 0 but 1 in both variables.
    """
    exact = roll.denoiser(PROBLEMS["VP"].schedule)
    white = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    rows = []
    for t in torch.tensor([0.3, 0.4, 0.5, 0.7, 1.0]):
        x_t = noised(exact.schedule, data, t, torch.randn(data.shape, generator=torch.Generator().manual_seed(2)))
        alpha_t, log_p = exact.schedule.alpha(t), exact.log_prob(x_t, t)
        centred, moved = ((log_p - white.log_prob(x)).mean() for x in (x_t, x_t + alpha_t))
        rows.append(dict(t=float(t), signal=float(alpha_t), centred=float(centred), moved=float(moved)))
    return rows


def main(out: Path, scale: Scale) -> None:
    """Run everything; tables go to `out` as CSV files and to the terminal as Markdown, figures to `out`.

    A network that was trained in `out` before is taken from there.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    points = make_swiss_roll(scale.points, np.random.default_rng(0))
    roll = Roll(Normaliser.of(points))
    data = torch.tensor(roll.normaliser.apply(points), dtype=torch.float32)
    networks = {
        name: learned(p.schedule, data, scale.updates, out / f"training_{name}") for name, p in PROBLEMS.items()
    }
    report(out / "loss.csv", loss_rows(roll, networks, 5 * scale.points), LOSS_TABLE)
    report(out / "start.csv", start_rows(roll, data), START_TABLE)
    score_figure(roll, networks["VE"], sigmas=(0.1, 0.5, 2.0)).savefig(out / "score.png", dpi=60)
    rows, draws = zip(*unconditional(roll, networks, scale), strict=True)
    report(out / "unconditional.csv", rows, PRIOR_TABLE)
    samples_figure(Posterior(roll, NOTHING_OBSERVED, scale.cells), rows, draws).savefig(out / "samples.png", dpi=70)
    for name, problem in PROBLEMS.items():
        posterior = Posterior(roll, problem, scale.cells)
        rows, draws = zip(*conditional(name, posterior, networks[name], torch.cov(data.T), scale), strict=True)
        report(out / f"posterior_{name}.csv", rows, POSTERIOR_TABLE)
        report(out / f"branches_{name}.csv", [posterior_row(posterior), *rows], branch_table(len(posterior.weights)))
        shown = {row["method"]: x for row, x in zip(rows, draws, strict=True)}
        posterior_figure(posterior, shown).savefig(out / f"posterior_{name}.png", dpi=70)


def posterior_row(posterior: Posterior) -> dict[str, Any]:
    """Return the weights of the branches by quadrature, named like those of a method."""
    return dict(method="quadrature", stayed=float("nan")) | {
        f"exact_branch_{k + 1}": float(w) for k, w in enumerate(posterior.weights)
    }


def branch_table(number: int) -> dict[str, str]:
    """Return the columns of a table of branches."""
    weights = {str(k): f"{{exact_branch_{k}:.2f}}" for k in range(1, number + 1)}
    return {"method": "{method}"} | weights | {"as without y": "{stayed:.2f}"}


LOSS_TABLE = {
    "schedule": "{schedule}", "source": "{source:.4f}", "ours": "{network:.4f}", "least possible": "{optimum:.4f}",
}  # fmt: skip
START_TABLE = {
    "$t$": "{t:g}", "signal $\\alpha_t$": "{signal:.4f}", "KL (nats)": "{centred:.5f}",
    "KL, mean 1": "{moved:.5f}",
}  # fmt: skip
PRIOR_TABLE = {
    "schedule": "{schedule}", "sampler": "{sampler}", "denoiser": "{denoiser}",
    "sliced W2": "{sw_value:.3f} [{sw_low:.3f}, {sw_high:.3f}]", "floor": "{sw_floor:.3f}",
    "energy distance": "{energy_value:.4f} [{energy_low:.4f}, {energy_high:.4f}]", "its floor": "{energy_floor:.4f}",
    "off the roll": "{off:.3f}",
}  # fmt: skip
POSTERIOR_TABLE = {
    "method": "{method}", "sliced W2": "{exact_sw:.3f} ± {exact_sw_se:.3f}",
    "$y - x_1 x_2$": "{exact_residual_mean:+.3f} ± {exact_residual_std:.3f}", "off the roll": "{exact_off:.3f}",
    "moved": "{exact_moved:.3f}", "network: sliced W2": "{network_sw:.3f} ± {network_sw_se:.3f}",
    "off": "{network_off:.3f}", "moved ": "{network_moved:.3f}",
}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tutorials/swiss_roll"))
    parser.add_argument("--quick", action="store_true", help="small settings, whose results mean little")
    given = parser.parse_args()
    main(given.out, QUICK if given.quick else Scale())
