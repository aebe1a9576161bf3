"""Windows of Lorenz96: one diffusion tutorial reproduced, and what the same data and network can do.

    python docs/tutorials/lorenz96_windows.py                           # full settings, 25 minutes of one core
    python docs/tutorials/lorenz96_windows.py --quick --out runs/quick  # half a minute, to see that it runs

Makes the data, trains the two configurations of `configs/tutorials/` (or takes what is already trained in `--out`), and
compares the systems on windows that no training has seen: samples without observations by their statistics, samples
given observations by the scores of ensembles. Everything is in normalised units until it is scored.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lorenz96_windows_figures import conditional_figure, plane_figure, reverse_figure, statistics_figure
from torch import Tensor

from scoreda.datasets import Normaliser, make_seed_windows, read_seed_windows, write_seed_windows
from scoreda.diffusion import (
    JFPS,
    ConstantDerivative,
    Denoiser,
    EulerMaruyamaSampler,
    GaussianDenoiser,
    HeunSampler,
    MomentMatching,
    Prior,
    Sampler,
    VPCosine,
    noise,
)
from scoreda.diffusion.samplers.spacing import log_snr
from scoreda.experiments.config import Training, load_config, resolved
from scoreda.experiments.device import resolve_device
from scoreda.experiments.scores import write_rows
from scoreda.experiments.train import train_prior
from scoreda.verification import arrays
from scoreda.verification.distances import (
    compare,
    energy_distance,
    orthogonal_directions,
    sliced_wasserstein,
    wasserstein,
)
from scoreda.verification.fields import frequency_wavenumber_spectrum, wavenumber_spectrum

CONFIGS = Path(__file__).parents[2] / "configs/tutorials"
SOURCE, OURS = "lorenz96_windows_seed", "lorenz96_windows"
FRAMES, SITES, DT = 32, 32, 0.2  # of a window; model time between frames
SHOWN = (1000, 500, 200, 100, 80, 60, 50, 40, 30, 20, 10, 0)  # steps of the source's reverse run, of 1,000

SOLVED = 4  # windows, and members of each, to compare solvers on

LEVELS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 6.0)  # of noise, to denoise at

Distance = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        trajectories: In the file; the last tenth is for testing.
        steps: Of the sampler of the source.
        samples: Drawn without observations, compared with as many windows.
        windows: To reconstruct from observations.
        members: Drawn of each.
        resamples: Behind each interval of a distance.
        overrides: Of the configurations.
    """

    trajectories: int = 5000
    steps: int = 1000
    samples: int = 250
    windows: int = 8
    members: int = 12
    resamples: int = 50
    overrides: tuple[str, ...] = ()


QUICK = Scale(
    trajectories=200, steps=100, samples=20, windows=2, members=4, resamples=5,
    overrides=("train.steps=60", "train.batch=32", "network.widths=[8, 16]", "train.validate_every=30"),
)  # fmt: skip


# --- data and priors ------------------------------------------------------------------------------------------------


def make_data(out: Path, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Return windows `(n, time, space)`, those for training and those that no system sees; the file is in `out`."""
    path = out / "windows.nc"
    if not path.is_file():
        write_seed_windows(make_seed_windows(42, scale.trajectories), path)
    with read_seed_windows(path) as ds:
        windows = ds["lorenz96_trajectory"].values
    train = len(windows) * 9 // 10
    return windows[:train], windows[train:]


def train(name: str, out: Path, scale: Scale, train_windows: int) -> Prior:
    """Return the prior of one configuration on the processor, trained in `out` unless it is there already."""
    overrides = [f"data.file={out / 'windows.nc'}", f"data.select.batch=[0, {train_windows}]", *scale.overrides]
    settings = resolved(load_config(Training, CONFIGS / f"{name}.yaml", overrides))
    return train_prior(settings, out / name, resolve_device(), resume=True).to("cpu")


def homogeneous_covariance(windows: np.ndarray) -> Tensor:
    """Return the covariance `(time * space, time * space)` of windows whose mean is zero, the same at every site."""
    n, frames, sites = windows.shape
    waves = np.fft.rfft(windows, axis=-1)
    cross = np.einsum("nik,njk->ijk", waves.conj(), waves, optimize=True) / (n * sites)
    lagged = np.fft.irfft(cross, sites, axis=-1)  # of one frame at a site with another frame, r sites to its right
    r = (np.arange(sites) - np.arange(sites)[:, None]) % sites
    cov = lagged[:, :, r].swapaxes(1, 2).reshape(frames * sites, frames * sites)
    return torch.as_tensor(cov, dtype=torch.float32)


# --- the systems ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """A denoiser of windows, and how it is guided and sampled.

    Attributes:
        denoiser: Of normalised windows of `shape`.
        guide: From denoiser, observations `(B, Ny)`, operator and variance of the errors to the guided denoiser.
        sampler: From denoiser and generator.
        shape: `(time, space)` where times are channels, otherwise with a channel before.
        assumed: Standard deviation that it takes for that of the observations, over the true one.
    """

    denoiser: Denoiser
    guide: Callable[..., Denoiser]
    sampler: Callable[[Denoiser, torch.Generator], Sampler]
    shape: tuple[int, ...] = (FRAMES, SITES)
    assumed: float = 1.0

    def sample(self, number: int, seed: int, y: Tensor | None = None, obs_std: float = 1.0) -> np.ndarray:
        """Draw normalised windows `(number, time, space)`, given observations `(number, time * space)` if there are."""
        generator = torch.Generator().manual_seed(seed)
        denoiser = self.denoiser
        if y is not None and bool(y.isfinite().any()):  # nothing observed: a sample of the prior
            denoiser = self.guide(denoiser, y, lambda x: x.flatten(1), (self.assumed * obs_std) ** 2)
        x = self.sampler(denoiser, generator)(noise((number, *self.shape), denoiser, generator))
        return x.reshape(number, FRAMES, SITES).numpy()


def make_systems(source: Prior, ours: Prior, cov: Tensor, scale: Scale, assumed: float) -> dict[str, System]:
    """Return the systems by the names they have in tables and figures; `cov` is that of the training windows."""
    gaussian = GaussianDenoiser(torch.zeros(len(cov)), cov, VPCosine())
    climate = lambda *args: JFPS(*args, covariance=cov)
    # Its Jacobian is not quite symmetric, on which conjugate gradients run away, and more iterations make it worse.
    matched = lambda *args: MomentMatching(*args, solver="gmres", iterations=5)
    heun = lambda denoiser, _: HeunSampler(denoiser, 20)
    return {
        "source": System(
            source.denoiser,
            lambda *args: ConstantDerivative(*args, derivative=0.0),
            lambda denoiser, generator: EulerMaruyamaSampler(denoiser, scale.steps, generator),
            assumed=assumed,
        ),
        "source's network": System(
            source.denoiser, climate, lambda denoiser, _: HeunSampler(denoiser, 20, spacing=whole_steps)
        ),
        "Gaussian": System(gaussian, climate, heun),
        "ours, Jacobian-free": System(ours.denoiser, climate, heun, (1, FRAMES, SITES)),
        "ours": System(ours.denoiser, matched, heun, (1, FRAMES, SITES)),
    }


def other_solvers(systems: Mapping[str, System]) -> dict[str, System]:
    """Return our network under moment matching that takes its Jacobian for symmetric, beside the two of the table."""
    guides = {n: lambda *args, n=n: MomentMatching(*args, solver="cg", iterations=n) for n in (3, 10)}
    symmetric = {f"conjugate gradients, {n}": replace(systems["ours"], guide=guide) for n, guide in guides.items()}
    return {"JFPS": systems["ours, Jacobian-free"], "GMRES, 5": systems["ours"]} | symmetric


def whole_steps(schedule: Any, start: float, number: int) -> Tensor:
    """Return times uniform in the log signal-to-noise ratio, each moved to a step that the source's network knows."""
    return schedule.time_of_index(schedule.index(log_snr(schedule, start, number)).double())


# --- one noise level at a time --------------------------------------------------------------------------------------


def denoising(systems: Mapping[str, System], truth: np.ndarray) -> Iterator[dict[str, float]]:
    """Yield the root-mean-square error with which each system denoises `truth` `(n, time, space)`, normalised units."""
    generator = torch.Generator().manual_seed(0)
    for s in LEVELS:
        x = torch.as_tensor(truth, dtype=torch.float32)
        noisy = x + s * torch.randn(x.shape, generator=generator)
        yield {"noise": s} | {name: error_of(systems[name], noisy, x, s) for name in ("source", "Gaussian", "ours")}


@torch.no_grad()
def error_of(system: System, noisy: Tensor, x: Tensor, s: float) -> float:
    """Return how far a system lands from `x` when it denoises `noisy`, whose noise has standard deviation `s`."""
    schedule = system.denoiser.schedule
    t = torch.as_tensor(schedule.time(torch.tensor(s)))
    x_hat = system.denoiser(schedule.alpha(t) * noisy.reshape(-1, *system.shape), t)
    return float((x_hat.reshape(x.shape) - x).square().mean().sqrt())


# --- without observations -------------------------------------------------------------------------------------------


def frequency_spectra(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies and the energy of each window at each, `(n, frequencies)`."""
    spectra = [frequency_wavenumber_spectrum(window, DT) for window in windows]
    return spectra[0][0], np.stack([energy.sum(axis=1) for _, _, energy in spectra])


def spectral_distance(X: np.ndarray, Y: np.ndarray) -> float:
    """Return the root-mean-square ratio of two frequency-wavenumber spectra, in decades."""
    decades = [np.log10(frequency_wavenumber_spectrum(z.reshape(-1, FRAMES, SITES), DT)[2]) for z in (X, Y)]
    return float(np.sqrt(np.mean((decades[0] - decades[1]) ** 2)))


def distances() -> dict[str, tuple[Distance, float]]:
    """Return the distances of samples of windows by name, and the power to which sampling adds."""
    directions = orthogonal_directions(FRAMES * SITES, 128, np.random.default_rng(0))
    return {
        "values W1": (lambda X, Y: wasserstein(X, Y, 1.0), 1.0),
        "windows SW2": (lambda X, Y: sliced_wasserstein(X, Y, directions), 2.0),
        "energy distance": (energy_distance, 1.0),
        "spectrum (decades)": (spectral_distance, 1.0),
    }


def compared(samples: Mapping[str, np.ndarray], truth: np.ndarray, resamples: int) -> Iterator[dict[str, Any]]:
    """Yield every distance of every set of samples from `truth`, with its interval and its noise floor."""
    for name, drawn in samples.items():
        for distance, (function, power) in distances().items():
            found = compare(function, drawn, truth, np.random.default_rng(1), resamples, power=power)
            yield dict(system=name, distance=distance) | found._asdict()


# --- given observations ---------------------------------------------------------------------------------------------


def cases(truth: np.ndarray) -> dict[str, tuple[np.ndarray, float]]:
    """Return where windows are observed, `(time, space)`, and the standard deviation of the errors, by name."""
    every, second, fourth = (np.zeros((FRAMES, SITES), dtype=bool) for _ in range(3))
    every[:], second[::2, ::2], fourth[::4, ::4] = True, True, True
    std = 0.1 * float(np.abs(truth).mean())  # as in the source
    return {
        "dense": (every, std),
        "every 2nd": (second, std),
        "every 4th": (fourth, std),
        "noisy": (every, 10 * std),
        "none": (~every, std),
    }


def observe(truth: np.ndarray, where: np.ndarray, std: float, seed: int) -> np.ndarray:
    """Return `truth` `(n, time, space)` with errors, NaN where it is not observed."""
    return np.where(where, truth + std * np.random.default_rng(seed).normal(size=truth.shape), np.nan)


def ensembles(system: System, y: np.ndarray, std: float, members: int) -> np.ndarray:
    """Return `members` windows given each of `y` `(n, time, space)`: `(n, members, time, space)`."""
    rows = torch.as_tensor(y.reshape(len(y), -1), dtype=torch.float32).repeat_interleave(members, 0)
    return system.sample(len(rows), 7, rows, std).reshape(len(y), members, FRAMES, SITES)


def scores(E: np.ndarray, x: np.ndarray) -> dict[str, float]:
    """Return scores of ensembles `(n, members, time, space)` of `x` `(n, time, space)`, means and standard errors."""
    E, x = E.reshape(*E.shape[:2], -1), x.reshape(len(x), -1)
    each = dict(
        rmse=arrays.rmse(E, x), spread=arrays.spread(E), crps=arrays.crps(E, x), coverage90=arrays.coverage(E, x, 0.9)
    )
    error = {f"{name}_se": float(v.std(ddof=1) / len(v) ** 0.5) for name, v in each.items()}
    return {name: float(v.mean()) for name, v in each.items()} | error


def reconstructed(
    systems: Mapping[str, System], truth: np.ndarray, members: int, normaliser: Normaliser
) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Yield scores (model units), observations and ensembles of every system in every case; `truth` is normalised."""
    for case, (where, std) in cases(truth).items():
        y = observe(truth, where, std, seed=3)
        for name, system in systems.items():
            begun = time.process_time()
            E = ensembles(system, y, std, members)
            seconds = time.process_time() - begun
            row = dict(case=case, system=name) | scores(normaliser.invert(E), normaliser.invert(truth))
            yield row | dict(seconds=seconds), normaliser.invert(y), normaliser.invert(E)


# --- the comparison -------------------------------------------------------------------------------------------------


def markdown(rows: list[dict[str, Any]], line: str, columns: tuple[str, ...]) -> str:
    """Return a Markdown table, every row as `line` shows it."""
    head = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return "\n".join([*head, *(line.format(**row) for row in rows)])


def statistics(
    systems: Mapping[str, System], truth: np.ndarray, normaliser: Normaliser, scale: Scale, out: Path
) -> None:
    """Compare samples without observations with held-out windows; tables and figures go to `out`."""
    drawn = [name for name in systems if name != "ours, Jacobian-free"]  # which differs in its guidance only
    samples = {name: normaliser.invert(systems[name].sample(scale.samples, 5)) for name in drawn}
    rows = list(compared(samples, truth[: scale.samples], scale.resamples))
    write_rows(out / "distances.csv", list(rows[0]), rows)
    line = "| {system} | {distance} | {value:.3f} | {low:.3f} to {high:.3f} | {floor:.3f} | {p_value:.3f} |"
    print(markdown(rows, line, ("system", "distance", "value", "90 % interval", "floor", "p")))
    named = {"held-out truth": truth} | samples
    along = {name: wavenumber_spectrum(w)[1].mean(axis=1) for name, w in named.items()}
    omega = {name: frequency_spectra(w)[1] for name, w in named.items()}
    statistics_figure(named, along, frequency_spectra(truth[:1])[0], omega).savefig(out / "statistics.png", dpi=100)
    planes = {name: frequency_wavenumber_spectrum(named[name], DT) for name in ("held-out truth", "source", "ours")}
    plane_figure(planes).savefig(out / "planes.png", dpi=100)


def main(out: Path, scale: Scale) -> None:
    """Run everything; tables and figures go to `out`."""
    train_windows, test_windows = make_data(out, scale)
    source, ours = (train(name, out, scale, len(train_windows)) for name in (SOURCE, OURS))
    normaliser = ours.normaliser
    truth = normaliser.apply(test_windows[-scale.windows :].astype(np.float64))
    cov = homogeneous_covariance(normaliser.apply(train_windows.astype(np.float64)))
    # The source makes errors of .1 mean |truth| and assimilates them as errors of .1; the ratio is kept in all cases.
    systems = make_systems(source, ours, cov, scale, assumed=1 / float(np.abs(truth).mean()))
    errors = list(denoising(systems, normaliser.apply(test_windows[: scale.samples].astype(np.float64))))
    write_rows(out / "denoising.csv", list(errors[0]), errors)
    line = "| {noise} | {source:.3f} | {Gaussian:.3f} | {ours:.3f} |"
    print(markdown(errors, line, ("noise", "source's network", "Gaussian", "ours")))
    statistics(systems, test_windows, normaliser, scale, out)
    conditional(systems, truth, normaliser, scale, out)
    few = reconstructed(other_solvers(systems), truth[:SOLVED], min(SOLVED, scale.members), normaliser)
    rows = [row for row, _, _ in few]
    write_rows(out / "solvers.csv", list(rows[0]), rows)
    print(conditional_table(rows))
    path = {f"step {k}": normaliser.invert(x) for k, x in reverse_path(systems["source"], scale).items()}
    reverse_figure(path).savefig(out / "reverse.png", dpi=90)


def conditional(
    systems: Mapping[str, System], truth: np.ndarray, normaliser: Normaliser, scale: Scale, out: Path
) -> None:
    """Reconstruct held-out windows `truth`, normalised, from observations; table and figure go to `out`."""
    rows, shown = [], {}
    for row, y, E in reconstructed(systems, truth, scale.members, normaliser):
        rows.append(row)
        shown[row["case"], row["system"]] = (y[0], E[0])
    write_rows(out / "conditional.csv", list(rows[0]), rows)
    print(conditional_table(rows))
    conditional_figure(normaliser.invert(truth[0]), shown, ("source", "ours")).savefig(out / "conditional.png", dpi=72)


def conditional_table(rows: list[dict[str, Any]]) -> str:
    """Return scores of reconstructions as Markdown."""
    line = (
        "| {case} | {system} | {rmse:.3f} ± {rmse_se:.3f} | {spread:.3f} | {crps:.3f} ± {crps_se:.3f} | "
        "{coverage90:.3f} | {seconds:.0f} |"
    )
    return markdown(rows, line, ("observations", "system", "RMSE", "spread", "CRPS", "coverage of 90 %", "CPU s"))


def reverse_path(system: System, scale: Scale) -> dict[int, np.ndarray]:
    """Return one window of a reverse run at the steps that the source shows, 0 the sample."""
    generator = torch.Generator().manual_seed(11)
    x = noise((1, *system.shape), system.denoiser, generator)
    states = system.sampler(system.denoiser, generator).trace(x, [k / SHOWN[0] for k in SHOWN])
    return {k * scale.steps // SHOWN[0]: state[0].numpy() for k, state in zip(SHOWN, states, strict=True)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("runs/lorenz96_windows"))
    parser.add_argument("--quick", action="store_true", help="small settings, whose results mean nothing")
    given = parser.parse_args()
    main(given.out, QUICK if given.quick else Scale())
