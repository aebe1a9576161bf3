"""Trainings small enough for a test, and a Gaussian field whose optimal loss is known."""

import json
from pathlib import Path

import torch

from scoreda.diffusion import EDM, ConvNet1d, KarrasDenoiser, Trainer, TrainSettings

SIZE = 24
FIELDS = torch.randn(64, 1, 12, generator=torch.Generator().manual_seed(3))


def make_denoiser(seed=0, **network):
    settings = dict(width=4, blocks=1, kernel=3, embedding=8) | network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KarrasDenoiser(ConvNet1d(**settings), EDM())


def make_trainer(folder, data=FIELDS, denoiser=None, valid=FIELDS[:16], **settings):
    settings = dict(steps=20, batch=8, warmup=2, lr=1e-2, validate_every=4, ema=0.9, seed=1) | settings
    return Trainer(denoiser or make_denoiser(), data, valid, TrainSettings(**settings), folder)


def rows(folder):
    """The metrics without the clock; none if nothing was written yet."""
    path = Path(folder) / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def ring_spectrum():
    """Eigenvalues of a ring's covariance with unit variance, in `fft` order."""
    wavenumber = SIZE * torch.fft.fftfreq(SIZE).abs().double()
    spectrum = (1 + (wavenumber / 3) ** 2) ** -2.0
    return spectrum * SIZE / spectrum.sum()


def ring_fields(number, seed):
    white = torch.randn(number, 1, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.fft.ifft(torch.fft.fft(white) * ring_spectrum().sqrt()).real.float()
