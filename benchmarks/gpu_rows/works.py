"""Ceilings of a device, passes of the network, cycles of Score-4D, and Lorenz96 in torch."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from gpu_rows.analyses import SIZE, prior
from gpu_rows.meters import COPY, Counted, Figure, Sizes, Task, kinds, precision, product, seconds
from scoreda.assimilation import Score4D
from scoreda.datasets import climate_states
from scoreda.diffusion import load_prior
from scoreda.models import Lorenz96
from scoreda.observations import GaussianError, Identity, Observation


def ceilings(device: torch.device, sizes: Sizes) -> Iterator[Task]:
    for kind in kinds(device):
        yield Task(product(kind), "TFLOP/s", partial(products, device, sizes, kind))
    yield Task(COPY, "GB/s", partial(copies, device, sizes))


def products(device: torch.device, sizes: Sizes, kind: str) -> Iterator[Figure]:
    n = sizes.matrix
    A = torch.randn(n, n, device=device).to(torch.bfloat16 if kind == "bfloat16" else torch.float32)
    with precision(kind):
        time = seconds(lambda: A @ A, device, sizes.turns)
    yield Figure(product(kind), "TFLOP/s", 2 * n**3 / time / 1e12)


def copies(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    source = torch.zeros(sizes.numbers, device=device)
    target = torch.empty_like(source)
    time = seconds(lambda: target.copy_(source), device, sizes.turns)
    yield Figure(COPY, "GB/s", 2 * source.nbytes / time / 1e9)


def forward_passes(device: torch.device, sizes: Sizes) -> Iterator[Task]:
    for kind in kinds(device):
        for N in sizes.members:
            work = f"network, {N} members, {kind}"
            yield Task(work, "TFLOP/s", partial(forward_pass, device, sizes.turns, N, kind, work))


def forward_pass(device: torch.device, turns: int, N: int, kind: str, work: str) -> Iterator[Figure]:
    denoiser, t = prior(device, kind), torch.tensor(0.5, device=device)
    x = torch.randn(N, 1, SIZE, device=device)
    with torch.no_grad(), precision(kind):
        with Counted() as counted:
            denoiser(x, t)
        time = seconds(lambda: denoiser(x, t), device, turns)
    yield from counted.rates(work, time, kind)


def cycles_of_score4d(device: torch.device, sizes: Sizes) -> Iterator[Task]:
    for name, where in {"torch": device, "kernels": None}.items():
        if where is not None or device.type == "cpu":
            work = f"Score-4D, {sizes.window} times, {name}"
            yield Task(work, "cycles/s", partial(cycles, device, where, sizes, work))


def cycles(device: torch.device, where: torch.device | None, sizes: Sizes, work: str) -> Iterator[Figure]:
    yield Figure(work, "cycles/s", 1 / seconds(filled_score4d(device, where, sizes.window), device, sizes.turns))


def filled_score4d(device: torch.device, where: torch.device | None, window: int) -> Callable[[], None]:
    """Return what runs one more cycle on a new observation, the window being full."""
    model, rng, H = Lorenz96(SIZE), np.random.default_rng(0), Identity(SIZE)
    method = Score4D(model, load_prior("lorenz96", device), window, device=where)
    x = climate_states(model, 1, rng)
    state = method.init(x + rng.normal(size=(20, SIZE)))

    def cycle() -> None:
        nonlocal x, state
        x = model.step(x)
        y = Observation(state.time + model.dt, x[0] + rng.normal(size=SIZE), H, GaussianError(1.0, SIZE))
        state, _ = method.step(state, y, rng)

    for _ in range(window):
        cycle()
    return cycle


def lorenz96(device: torch.device, sizes: Sizes) -> Iterator[Task]:
    for N in sizes.members:
        for name in ("step", "tangent"):
            work = f"Lorenz96 {name}, {N} members"
            yield Task(work, "steps/s", partial(model_steps, device, sizes.turns, N, name, work))


def model_steps(device: torch.device, turns: int, N: int, name: str, work: str) -> Iterator[Figure]:
    model, x = Lorenz96(SIZE), 8 + torch.randn(N, SIZE, device=device)
    step = partial(model.torch_step, steps=10)
    run = partial(step, x) if name == "step" else partial(torch.func.jvp, step, (x,), (x,))
    yield Figure(work, "steps/s", 10 * N / seconds(run, device, turns))
