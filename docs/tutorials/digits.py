"""Diffusion on images: handwritten digits, judged by a classifier and by distances, not by the eye alone.

    python docs/tutorials/digits.py                           # full settings, 20 minutes of one core
    python docs/tutorials/digits.py --quick --out runs/quick  # small ones, ten seconds: only shows that it runs

Needs scikit-learn (`pip install 'scoreda[tutorials]'`), which ships with the images. `configs/tutorials/digits.yaml`
holds data, network and training; what is already trained in `--out` is taken as it is.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from digits_figures import preview_figure, rows_figure
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import Tensor, nn

from scoreda.datasets import Normaliser, split_by_trajectory, write_dataset
from scoreda.diffusion import (
    ClassifierFree,
    DDIMSampler,
    DDPMSampler,
    Denoiser,
    LearnedDenoiser,
    Prior,
    Sampler,
    Samples,
    Trainer,
    TrainSettings,
    noise,
)
from scoreda.experiments.config import Training, load_config, resolved
from scoreda.experiments.scores import write_rows
from scoreda.experiments.train import make_denoiser, make_network, train_prior
from scoreda.experiments.training_data import make_samples, states_of_file
from scoreda.verification.distances import compare, energy_distance, orthogonal_directions, sliced_wasserstein

CONFIG = Path(__file__).parents[2] / "configs/tutorials/digits.yaml"
TEST, PIXELS, CLASSES = 500, 8, 10
WEIGHTS = (0.0, 1.0, 3.0)  # of classifier-free guidance


@dataclass(frozen=True)
class Scale:
    """How large everything is: images drawn for every row of the tables, resamples behind every interval, overrides."""

    samples: int = 300
    resamples: int = 100
    overrides: tuple[str, ...] = ()


QUICK = Scale(30, 5, ("train.steps=38", "network.widths=[8, 16]", "schedule.steps=100", "schedule.beta_max=0.2"))


# --- the data -------------------------------------------------------------------------------------------------------


def write_digits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write the digits in [-1, 1] and random order to netCDF; return images `(n, row, column)` and labels `(n,)`."""
    digits = load_digits()
    # The images are sorted by writer, so without a shuffle the test set would be other people's hands.
    order = np.random.default_rng(0).permutation(len(digits.images))
    images, labels = (digits.images[order] / 8 - 1).astype(np.float32), digits.target[order]
    dims = ("sample", "row", "column")
    attrs = dict(long_name="ink, from -1 (none) to 1", units="1")
    write_dataset(xr.Dataset({"image": (dims, images, attrs), "label": ("sample", labels)}), path)
    return images, labels


def planes(labels: np.ndarray) -> Tensor:
    """Return labels as ten channels of a condition, all ones in that of the class: `(n, 10, row, column)`."""
    one_hot = nn.functional.one_hot(torch.as_tensor(labels), CLASSES).float()
    return one_hot[:, :, None, None].expand(-1, -1, PIXELS, PIXELS)


# --- the models -----------------------------------------------------------------------------------------------------


def settings_of(out: Path, scale: Scale, *overrides: str) -> dict[str, Any]:
    """Return the configuration, with the file in `out`."""
    return resolved(load_config(Training, CONFIG, [f"data.file={out / 'digits.nc'}", *scale.overrides, *overrides]))


def train_conditional(
    settings: Mapping[str, Any], labels: np.ndarray, folder: Path
) -> tuple[LearnedDenoiser, Normaliser]:
    """Train the same network with the class as a condition, hidden from 15 % of the samples."""
    train, valid, normaliser = make_samples(settings, states_of_file(settings))
    told = split_by_trajectory(labels, settings["valid_fraction"])
    network = dict(settings["network"]) | {"conditioning": CLASSES}
    denoiser = make_denoiser(dict(settings) | {"network": network}, tuple(train.shape[1:]))
    data = [Samples(x, planes(which)) for x, which in zip((train, valid), told, strict=True)]
    how = TrainSettings(**settings["train"] | {"condition_dropout": 0.15})
    trainer = Trainer(denoiser, *data, how, folder)
    if (folder / "last.pt").is_file():
        trainer.resume()
    return trainer.run().eval(), normaliser


def train_mixing(settings: Mapping[str, Any], images: np.ndarray) -> nn.Module:
    """Train a network to see the clean image in `(1 - a) x + a u`, with uniform noise u and without knowing a.

    Args:
        settings: Network, number of updates, batch and seed are those of the configuration.
        images: In [0, 1], `(n, row, column)`.
    """
    how, clean = settings["train"], torch.as_tensor(images)[:, None]
    network = make_network(settings["network"], how["seed"], tuple(clean.shape[1:]))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(how["seed"])
    for _ in range(how["steps"]):
        x = clean[torch.randint(len(clean), (how["batch"],), generator=generator)]
        a, u = torch.rand(len(x), 1, 1, 1, generator=generator), torch.rand(x.shape, generator=generator)
        loss = (clean_image(network, (1 - a) * x + a * u) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


def clean_image(network: nn.Module, x: Tensor) -> Tensor:
    """Return what a network that is told no noise level sees in `x` `(B, 1, row, column)`."""
    return network(x, x.new_zeros(len(x)))


# --- sampling -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def mix(network: nn.Module, number: int, n: int, seed: int) -> np.ndarray:
    """Return images in [0, 1] from uniform noise by `n` steps `x <- (1 - m) x + m f(x)`, m = 1/n, 1/(n - 1), ..., 1."""
    x = torch.rand(number, 1, PIXELS, PIXELS, generator=torch.Generator().manual_seed(seed))
    for i in range(n):
        m = 1 / (n - i)
        x = (1 - m) * x + m * clean_image(network, x)
    return x[:, 0].numpy()


class Clipped:
    """A denoiser of images, whose values lie in [-1, 1]: its answers, in normalised units, are cut off there."""

    def __init__(self, denoiser: Denoiser, normaliser: Normaliser) -> None:
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.low, self.high = normaliser.apply(-1.0), normaliser.apply(1.0)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t], within the limits."""
        return self.denoiser(x_t, t).clamp(self.low, self.high)


def draw(denoiser: Denoiser, normaliser: Normaliser, sampler: type[Sampler], steps: int, number: int) -> np.ndarray:
    """Return images `(number, row, column)`."""
    generator, clipped = torch.Generator().manual_seed(1), Clipped(denoiser, normaliser)
    x = noise((number, 1, PIXELS, PIXELS), clipped, generator)
    return normaliser.invert(sampler(clipped, steps, generator)(x)[:, 0].numpy())


def unconditional(name: str, prior: Prior, number: int) -> dict[str, np.ndarray]:
    """Return samples of one prior by ancestral sampling in all the steps of its schedule, and by DDIM in 50."""
    samplers = {"ancestral": (DDPMSampler, prior.denoiser.schedule.steps), "DDIM": (DDIMSampler, 50)}
    return {
        f"{name}, {method}, {steps}": draw(prior.denoiser, prior.normaliser, sampler, steps, number)
        for method, (sampler, steps) in samplers.items()
    }


def guided(denoiser: LearnedDenoiser, normaliser: Normaliser, asked: np.ndarray) -> dict[str, np.ndarray]:
    """Return one image of every class that is asked for, for every weight of the guidance."""
    return {
        f"class, w = {w:g}": draw(ClassifierFree(denoiser, planes(asked), w), normaliser, DDIMSampler, 50, len(asked))
        for w in WEIGHTS
    }


# --- the judges -----------------------------------------------------------------------------------------------------


class Judges:
    """Two classifiers of real digits, one for labels and one for confidence, and the images that they learned from."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.known = images.reshape(len(images), -1)
        self.support = SVC(gamma=0.06).fit(self.known, labels)
        self.logistic = LogisticRegression(max_iter=2000).fit(self.known, labels)

    def label(self, images: np.ndarray) -> np.ndarray:
        """Return the classes `(n,)` of images `(n, row, column)`."""
        return self.support.predict(images.reshape(len(images), -1))

    def opinion(self, images: np.ndarray) -> dict[str, float]:
        """Return mean confidence, evenness of the classes, and median distance to the nearest known image."""
        flat = images.reshape(len(images), -1)
        share = np.bincount(self.label(images), minlength=CLASSES) / len(images)
        entropy = float(np.sum(share[share > 0] * np.log(1 / share[share > 0])))
        return dict(
            confidence=float(self.logistic.predict_proba(flat).max(axis=1).mean()),
            evenness=entropy / np.log(CLASSES),
            nearest=float(np.median(cdist(flat, self.known).min(axis=1))),
        )


def judged(
    samples: Mapping[str, np.ndarray], truth: np.ndarray, judges: Judges, resamples: int
) -> Iterator[dict[str, Any]]:
    """Yield what the judges think of each set of images, and its distances from held-out digits with noise floors."""
    directions = orthogonal_directions(PIXELS**2, 128, np.random.default_rng(0))
    sliced = lambda X, Y: sliced_wasserstein(X, Y, directions)
    for name, images in samples.items():
        sw2 = compare(sliced, images, truth, np.random.default_rng(1), resamples, power=2.0)
        energy = compare(energy_distance, images, truth, np.random.default_rng(1), resamples)
        distances = dict(sw2=sw2.value, sw2_floor=sw2.floor, energy=energy.value, energy_floor=energy.floor)
        yield dict(samples=name) | judges.opinion(images) | distances | dict(p=energy.p_value)


# --- the comparison -------------------------------------------------------------------------------------------------


def trained(out: Path, scale: Scale, known: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Train every model of the page and return samples of each by name, the classes of the last sets all in turn."""
    samples = {}
    for name, betas in {"linear": "linear", "cosine": "squared_cosine"}.items():
        prior = train_prior(settings_of(out, scale, f"schedule.betas={betas}"), out / betas, resume=True)
        samples |= unconditional(name, prior, scale.samples)
    settings = settings_of(out, scale)
    mixing = train_mixing(settings, (known + 1) / 2)
    samples |= {f"mixing, {n}": 2 * mix(mixing, scale.samples, n, seed=1) - 1 for n in (5, 40)}
    conditional, normaliser = train_conditional(settings, labels, out / "conditional")
    return samples | guided(conditional, normaliser, np.arange(scale.samples) % CLASSES)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the scores as Markdown."""
    head = ("samples", "confidence", "evenness", "nearest", "sliced W2 (floor)", "energy (floor)", "p", "accuracy")
    line = (
        "| {samples} | {confidence:.3f} | {evenness:.3f} | {nearest:.2f} | {sw2:.3f} ({sw2_floor:.3f}) "
        "| {energy:.3f} ({energy_floor:.3f}) | {p:.3f} | {accuracy:.3f} |"
    )
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(line.format(**row) for row in rows)]
    return "\n".join(lines).replace("nan", "")


def main(out: Path, scale: Scale) -> None:
    """Train, sample and judge; tables and figures go to `out`."""
    images, labels = write_digits(out / "digits.nc")
    known, truth, asked = images[:-TEST], images[-TEST:], np.arange(scale.samples) % CLASSES
    samples = trained(out, scale, known, labels[:-TEST])
    judges = Judges(known, labels[:-TEST])
    # The first row is held-out digits beside the other held-out digits: what a perfect sampler would show.
    rows = [*judged({"held-out digits": truth[: scale.samples]}, truth[scale.samples :], judges, scale.resamples)]
    rows += judged(samples, truth, judges, scale.resamples)
    right = {name: judges.label(x) == asked for name, x in samples.items() if name.startswith("class")}
    right["held-out digits"] = judges.label(truth) == labels[-TEST:]
    rows = [row | dict(accuracy=float(np.mean(right.get(row["samples"], np.nan)))) for row in rows]
    write_rows(out / "scores.csv", list(rows[0]), rows)
    print(table(rows))
    rows_figure({"held-out digits": truth[:20]} | {name: x[:20] for name, x in samples.items()}).savefig(
        out / "samples.png", dpi=100
    )
    with np.load(out / "linear/previews.npz") as previews:
        drawn = {int(name.removeprefix("step_")): previews[name][:, 0] for name in previews.files}
    epoch = load_config(Training, CONFIG, scale.overrides).train.validate_every
    preview_figure({k // epoch: row for k, row in drawn.items()}).savefig(out / "previews.png", dpi=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--quick", action="store_true", help="small settings, whose results mean nothing")
    given = parser.parse_args()
    main(given.out, QUICK if given.quick else Scale())
