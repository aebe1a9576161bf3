r"""A primer of diffusion in one variable: noise in, noise out, and what the steps buy.

    python docs/tutorials/sde_primer.py                           # full settings, a quarter of a minute
    python docs/tutorials/sde_primer.py --quick --out runs/quick  # small ones: only shows that it runs

Noise comes by the process of Ornstein and Uhlenbeck, $dx = -\mu x\, dt + \sigma\, dw$ with $\mu = 5$ and
$\sigma^2 = 10$; the data are a mixture of two Gaussians. So the density at every diffusion time is known, the score
too, and nothing here is learned: what differs from the exact law is the fault of steps or of chance.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tables import report
from torch import Tensor

from scoreda.diffusion import (
    EDM,
    EulerMaruyamaSampler,
    GaussianMixture,
    HeunSampler,
    Sampler,
    Schedule,
    VPConstant,
    VPCosine,
    VPLinear,
    log_snr,
    noised_stepwise,
)
from scoreda.plotting import histogram_panels, potentials, sample_paths, save_gif
from scoreda.plotting import log_snr as draw_log_snr
from scoreda.plotting.style import COLOURS, GREY, legend_above, tidy
from scoreda.verification.distances import wasserstein

MU, SIGMA = 5.0, math.sqrt(10.0)  # relaxation rate and noise; the stationary variance is sigma^2 / (2 mu) = 1
F64 = torch.float64
WEIGHTS, MEANS, STDS = (torch.tensor(v, dtype=F64) for v in ([0.6, 0.4], [4.0, -3.0], [2.0, 1.0]))
VARIANCE = float(WEIGHTS @ (STDS**2 + MEANS**2) - (WEIGHTS @ MEANS) ** 2)
TIMES = (0.0, 0.05, 0.1, 0.2, 0.4, 1.0)
AMPLITUDES = (0.0, 0.5, 1.0)
NEGLIGIBLE_SNR = 0.01
OU = VPConstant(2 * MU)  # the same equation: half its rate beta is mu, beta itself sigma^2
SCHEDULES: dict[str, Schedule] = {
    "VP, constant rate 10": OU, "VP, linear rate": VPLinear(), "VP, cosine": VPCosine(), "EDM": EDM(),
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    paths: int = 2000  # of the forward equation
    samples: int = 10_000
    steps: int = 1000
    floors: int = 100  # exact samples that tell how far chance alone goes


QUICK = Scale(paths=500, samples=2000, steps=200, floors=20)


def mixture(schedule: Schedule) -> GaussianMixture:
    """Return the exact denoiser of the data."""
    return GaussianMixture(WEIGHTS, MEANS[:, None], STDS[:, None, None] ** 2, schedule)


def density(x: np.ndarray, t: float) -> np.ndarray:
    """Return p_t at values `(n,)`."""
    return mixture(OU).log_prob(torch.as_tensor(x, dtype=F64)[:, None], t).exp().numpy()


def draw_data(number: int, generator: torch.Generator) -> Tensor:
    """Draw from the mixture, `(number, 1)`."""
    k = torch.multinomial(WEIGHTS, number, replacement=True, generator=generator)
    return (MEANS[k] + STDS[k] * torch.randn(number, generator=generator, dtype=F64))[:, None]


# --- forward --------------------------------------------------------------------------------------------------------


def forward_paths(x: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Return paths `(steps + 1, *x.shape)` of the equation from `x`, by Euler and Maruyama over 0 <= t <= 1."""
    dt, paths = 1 / steps, [x]
    for _ in range(steps):
        dw = math.sqrt(dt) * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        paths.append(paths[-1] - MU * paths[-1] * dt + SIGMA * dw)
    return torch.stack(paths)


def variance(t: float) -> float:
    r"""Return $\mathrm{Var}[x_t] = \mathrm{Var}[x_0] e^{-2 \mu t} + \frac{\sigma^2}{2 \mu} (1 - e^{-2 \mu t})$."""
    kept = math.exp(-2 * MU * t)
    return VARIANCE * kept + SIGMA**2 / (2 * MU) * (1 - kept)


def stepped_variance(steps: int, dt: float) -> float:
    """Return the variance after Euler steps of size dt, exactly; their own stationary one is 1 / (1 - mu dt / 2)."""
    kept = (1 - MU * dt) ** (2 * steps)
    return VARIANCE * kept + SIGMA**2 / (2 * MU) / (1 - MU * dt / 2) * (1 - kept)


def variance_rows(paths: Tensor) -> list[dict[str, float]]:
    """Return the variance of paths `(steps + 1, n, 1)` at `TIMES` beside the exact one."""
    steps = len(paths) - 1
    rows = []
    for t in TIMES:
        squares = (paths[round(t * steps)] - paths[round(t * steps)].mean()).square()
        se = float(squares.std()) / math.sqrt(len(squares))
        exact, stepped = variance(t), stepped_variance(round(t * steps), 1 / steps)
        rows.append(dict(t=t, exact=exact, stepped=stepped, empirical=float(squares.mean()), standard_error=se))
    return rows


# --- backward -------------------------------------------------------------------------------------------------------


def quantiles(t: float, number: int) -> np.ndarray:
    """Return `number` evenly spaced quantiles of p_t, for Wasserstein distances to the law itself."""
    x = np.linspace(-15, 20, 20_001)
    p = np.cumsum(density(x, t))
    return np.interp((np.arange(number) + 0.5) / number, p / p[-1], x + (x[1] - x[0]) / 2)


def law_of_noise(number: int) -> Tensor:
    """Return evenly spaced quantiles of p_1, `(number, 1)`: a start without chance and without the error of N(0, I)."""
    return torch.tensor(quantiles(1.0, number))[:, None]


def white_noise(number: int, schedule: Schedule) -> Tensor:
    """Return evenly spaced quantiles of what samplers start from, N(0, sigma_1^2), `(number, 1)`."""
    u = (torch.arange(number, dtype=F64) + 0.5) / number
    return torch.distributions.Normal(0.0, schedule.sigma(torch.ones((), dtype=F64))).icdf(u)[:, None]


def reverse_paths(amplitude: float, scale: Scale) -> Tensor:
    """Return paths `(steps + 1, samples)` from p_1 at t = 1 down to t = 0."""
    generator, x = torch.Generator().manual_seed(1), law_of_noise(scale.samples)
    sampler = EulerMaruyamaSampler(mixture(OU), scale.steps, generator, amplitude=amplitude, final="none")
    return torch.stack([x, *sampler.path(x)])[..., 0]


def at(paths: Tensor, t: float) -> np.ndarray:
    """Return the states of reverse paths at diffusion time `t`."""
    return paths[round((1 - t) * (len(paths) - 1))].numpy()


def floor(t: float, scale: Scale) -> float:
    """Return what nine in ten exact samples stay below, in Wasserstein-1 distance to p_t."""
    generator, law = torch.Generator().manual_seed(2), quantiles(t, scale.samples)
    when = torch.tensor([t], dtype=F64)
    draws = [noised_stepwise(OU, draw_data(scale.samples, generator), when, generator) for _ in range(scale.floors)]
    return float(np.quantile([wasserstein(x.numpy(), law) for x in draws], 0.9))


def amplitude_rows(reverse: dict[float, Tensor], scale: Scale) -> list[dict[str, float]]:
    """Return, for diffusion times from noise to data, the distance of each amplitude's states to p_t."""
    rows = []
    for t in reversed(TIMES):
        law = quantiles(t, scale.samples)
        row = {f"amplitude_{c:g}".replace(".", "_"): wasserstein(at(paths, t), law) for c, paths in reverse.items()}
        rows.append(dict(t=t) | row | dict(floor=floor(t, scale)))
    return rows


def wasted(schedule: Schedule) -> float:
    """Return the share of diffusion time in which the signal-to-noise ratio of white data is negligible."""
    t = (torch.arange(10_000, dtype=F64) + 0.5) / 10_000
    return float((log_snr(schedule, t) < math.log(NEGLIGIBLE_SNR)).double().mean())


def samplers(steps: int) -> Iterator[tuple[str, Sampler, int]]:
    """Yield name, sampler and evaluations of the denoiser: many small steps, and few of a better method."""
    few, generator, exact = 20, torch.Generator().manual_seed(3), mixture(OU)
    for number in (steps, few):
        yield f"Euler-Maruyama, {number} steps", EulerMaruyamaSampler(exact, number, generator, final="none"), number
    yield f"Heun, {few} steps, even in t", HeunSampler(exact, few), 2 * few - 1
    yield f"Heun, {few} steps, even in log-SNR", HeunSampler(exact, few, spacing="log_snr"), 2 * few - 1


def sampler_rows(scale: Scale) -> list[dict[str, Any]]:
    """Return the distance to the data's law of each sampler's draws, from white noise and from p_1 itself."""
    law = quantiles(0.0, scale.samples)
    starts = {"white_noise": white_noise(scale.samples, OU), "exact_start": law_of_noise(scale.samples)}
    return [
        dict(sampler=name, evaluations=evaluations)
        | {start: wasserstein(sampler(x).numpy(), law) for start, x in starts.items()}
        for name, sampler, evaluations in samplers(scale.steps)
    ]


# --- the page -------------------------------------------------------------------------------------------------------


def forward_figure(paths: Tensor) -> Figure:
    """Draw the paths of the forward equation, and their variance beside the formula."""
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    t = np.linspace(0, 1, len(paths))
    sample_paths(t, paths[..., 0].T.numpy(), left)
    right.plot(t, paths.var(1)[:, 0], color=GREY, linewidth=4, alpha=0.45, label=f"{paths.shape[1]} paths")
    right.plot(t, [variance(s) for s in t], color=COLOURS[0], linewidth=1.4, label="formula")
    right.axhline(SIGMA**2 / (2 * MU), color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    right.set(yscale="log", xlabel="diffusion time $t$", ylabel="variance of $x_t$")
    legend_above(right)
    tidy(right)
    return figure


def reverse_figure(reverse: dict[float, Tensor]) -> Figure:
    """Draw reverse paths of every amplitude, which differ, over bands, which do not."""
    figure = Figure(figsize=(4.2 * len(reverse), 3.4), layout="constrained")
    for ax, (c, paths) in zip(figure.subplots(1, len(reverse), sharey=True), reverse.items(), strict=True):
        order = torch.randperm(paths.shape[1], generator=torch.Generator().manual_seed(0))  # they start in order
        sample_paths(np.linspace(1, 0, len(paths)), paths[:, order].T.numpy(), ax, shown=25)
        ax.set_title(f"c = {c:g}", loc="right")
    return figure


def schedule_figure() -> Figure:
    """Draw the signal-to-noise ratio of the schedules over t, and where it is negligible."""
    t = torch.linspace(0, 1, 400, dtype=F64)
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    draw_log_snr({name: (t, log_snr(schedule, t)) for name, schedule in SCHEDULES.items()}, ax)
    ax.axhspan(-20, math.log(NEGLIGIBLE_SNR), color=GREY, alpha=0.15, linewidth=0)
    ax.set_ylim(-14, 14)
    return figure


def potential_figure() -> Figure:
    """Draw the potentials -ln p_t, whose two wells become one."""
    figure, x = Figure(figsize=(5.2, 3.2), layout="constrained"), np.linspace(-12, 12, 600)
    potentials(x, {f"t = {t:g}": density(x, t) for t in TIMES}, figure.subplots())
    return figure


def panels(forward: list[np.ndarray], backward: Tensor) -> Figure:
    """Draw histograms of noised data and of the reverse run over the exact densities."""
    exact = [lambda x, t=t: density(x, t) for t in TIMES]
    return histogram_panels(TIMES, forward, [at(backward, t) for t in TIMES], (-10, 10), densities=exact, bins=100)


def moving_picture(path: Path, backward: Tensor, frames: int = 40) -> None:
    """Write the histogram of a reverse run over the exact density, frame by frame from noise to data."""
    x = np.linspace(-10, 10, 300)

    def frame(ax: Axes, t: float) -> None:
        ax.hist(at(backward, t), bins=100, range=(-10, 10), density=True, color=COLOURS[0], alpha=0.45)
        ax.plot(x, density(x, t), color=GREY, linewidth=1.4)
        ax.set(xlim=(-10, 10), ylim=(0, 0.45), xlabel="$x_t$", ylabel="density")
        ax.set_title(f"t = {t:.2f}", loc="right")
        tidy(ax)

    save_gif(path, np.linspace(1, 0, frames + 1) ** 2, frame)  # more of them near the data, where all happens


def draw(paths: Tensor, noised: Tensor, reverse: dict[float, Tensor]) -> dict[str, Figure]:
    """Return the figures by the names of their files."""
    return {
        "forward": forward_figure(paths),
        "histograms": panels(list(noised[..., 0].numpy()), reverse[1.0]),
        "potentials": potential_figure(),
        "amplitude": reverse_figure(reverse),
        "log_snr": schedule_figure(),
    }


def main(out: Path, scale: Scale) -> None:
    """Run everything; tables go to `out` as CSV files and to the terminal as Markdown, figures to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    paths = forward_paths(draw_data(scale.paths, generator), scale.steps, generator)
    noised = noised_stepwise(OU, draw_data(scale.samples, generator), torch.tensor(TIMES, dtype=F64), generator)
    reverse = {c: reverse_paths(c, scale) for c in AMPLITUDES}
    report(out / "variance.csv", variance_rows(paths), VARIANCE_TABLE)
    report(out / "amplitude.csv", amplitude_rows(reverse, scale), AMPLITUDE_TABLE)
    report(out / "wasted.csv", [dict(schedule=name, wasted=wasted(s)) for name, s in SCHEDULES.items()], WASTED_TABLE)
    report(out / "samplers.csv", sampler_rows(scale), SAMPLER_TABLE)
    for name, figure in draw(paths, noised, reverse).items():
        figure.savefig(out / f"{name}.png", dpi=70)
    moving_picture(out / "reverse.gif", reverse[1.0])


VARIANCE_TABLE = {
    "$t$": "{t:g}", "formula": "{exact:.4f}", "1,000 Euler steps, exactly": "{stepped:.4f}",
    "paths": "{empirical:.2f} ± {standard_error:.2f}",
}  # fmt: skip
AMPLITUDE_TABLE = {
    "$t$": "{t:g}", "$c = 0$": "{amplitude_0:.3f}", "$c = 0.5$": "{amplitude_0_5:.3f}", "$c = 1$": "{amplitude_1:.3f}",
    "floor": "{floor:.3f}",
}  # fmt: skip
WASTED_TABLE = {"schedule": "{schedule}", "SNR below .01": "{wasted:.0%}"}
SAMPLER_TABLE = {
    "sampler": "{sampler}", "evaluations": "{evaluations}", "from white noise": "{white_noise:.3f}",
    "from $p_1$": "{exact_start:.3f}",
}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tutorials/sde_primer"))
    parser.add_argument("--quick", action="store_true", help="small settings, whose results mean little")
    given = parser.parse_args()
    main(given.out, QUICK if given.quick else Scale())
