"""A training step beside that of a plain loop around the same U-Net: time, and loss after as many samples."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scoreda.diffusion import DDPM, TargetDenoiser
from scoreda.diffusion.networks import PRESETS, network_from_spec
from scoreda.diffusion.training import Trainer, TrainSettings
from scoreda.models import Lorenz96
from speed_rows.peers import Peers
from speed_rows.plain_unet import PlainUNet
from speed_rows.table import Row, cpu, in_turn

BATCH, UPDATES, LAST, LR = 64, 300, 100, 1e-3
SCHEDULE = DDPM()
AGAINST = "a plain loop"


def windows(number: int = 512, points: int = 32, interval: int = 1) -> Tensor:
    """Return normalised windows `(number, 32, points)` of Lorenz96, their times as channels."""
    model, rng = Lorenz96(points, dt=0.01), np.random.default_rng(0)
    E = model.step(model.random_states(number, rng), 2000)
    states = [E := model.step(E, interval) for _ in range(32)]
    x = torch.as_tensor(np.stack(states, axis=1), dtype=torch.float32)
    return (x - x.mean()) / x.std()


def plain_loop(x: Tensor, network: PlainUNet) -> Callable[[], float]:
    """Return an update of the loop that everybody writes first; it gives the loss."""
    betas = SCHEDULE.betas.float()
    optimiser, kept = torch.optim.Adam(network.parameters(), lr=LR), torch.cumprod(1 - betas, 0)

    def update() -> float:
        clean = x[torch.randint(len(x), (BATCH,))]
        step, eps = torch.randint(len(betas), (BATCH,)), torch.randn_like(clean)
        a = kept[step][:, None, None]
        loss = F.mse_loss(network(a.sqrt() * clean + (1 - a).sqrt() * eps, step), eps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return update


def trainer(x: Tensor, folder: str, precision: str, compiled: bool = False) -> Trainer:
    """Return ours with the same loss, network, optimiser and batch, and the average and the clipping besides."""
    torch.manual_seed(0)
    network, last = network_from_spec(PRESETS["lorenz96_unet"]), nn.Conv1d(32, 32, 1)
    network.leave.weight, network.leave.bias = last.weight, last.bias  # ours starts at zero, theirs does not
    denoiser = TargetDenoiser(network, SCHEDULE, "epsilon", noise_input="step")
    settings = TrainSettings(
        steps=10**6, batch=BATCH, levels="uniform_step", optimiser="adam", weight_decay=0.0, beta2=0.999, lr=LR,
        lr_schedule="constant", warmup=0, precision=precision, compile=compiled,
    )  # fmt: skip
    return Trainer(denoiser, x, x[:BATCH], settings, Path(folder))


def training(peers: Peers) -> Iterator[Row]:
    x = windows()
    for precision, compiled in product(("float32", "bfloat16"), (False, True)):
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
            ours, network = trainer(x, folder, precision, compiled), PlainUNet()
            assert size(ours.denoiser) == size(network), (size(ours.denoiser), size(network))
            ratios = in_turn(cpu(plain_loop(x, network)), cpu(ours.update))
        how = f"{precision}, compiled" if compiled else precision
        yield Row(f"training step, {BATCH} x 32 x 32, {how}", AGAINST, 1.5, True, ratios)


def training_loss(peers: Peers) -> Iterator[Row]:
    """Yield the mean loss of the last of as many updates over the plain loop's."""
    x = windows()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = mean_loss(plain_loop(x, PlainUNet()))
    for precision in ("float32", "bfloat16"):
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
            ours = mean_loss(trainer(x, folder, precision).update)
        yield Row(f"loss after {UPDATES} updates, {precision}", AGAINST, 1.0, False, (ours / theirs,))


def mean_loss(update: Callable[[], object]) -> float:
    return float(np.mean([float(update()) for _ in range(UPDATES)][-LAST:]))


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


GROUPS = (training, training_loss)
