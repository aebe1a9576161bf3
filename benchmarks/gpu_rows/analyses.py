"""Guided analyses, from an observation on the host to an ensemble there, in every way that a device has."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gpu_rows.meters import Counted, Figure, Sizes, Task, precision, seconds
from scoreda.datasets import climate_states
from scoreda.diffusion import Compiled, DDIMSampler, MomentMatching, VPCosine, load_prior
from scoreda.models import Lorenz96

SIZE, STEPS, OBS_VARIANCE = 40, 20, 0.1

Run = Callable[[np.ndarray, torch.Generator], np.ndarray]


def analyses(device: torch.device, sizes: Sizes) -> Iterator[Task]:
    """Yield the ways, each at every number of members; the eager ones first, which the others are compared with."""
    y, known = observations(), Known({}, {})
    for name, N in ways(device.type, sizes):
        yield Task(title(N, name), "members/s", partial(figures, device, sizes.turns, N, name, y, known))


def ways(kind_of_device: str, sizes: Sizes) -> Iterator[tuple[str, int]]:
    """Yield the ways of a device, each with the members that it is tried with."""
    for name in OF_DEVICE[kind_of_device]:
        yield from product([name], sizes.compiled if WAYS[name].make is compiled else sizes.members)


def title(N: int, way: str) -> str:
    return f"analysis, {N} members, {way}"


class Known(NamedTuple):
    """What the eager ways leave to the others: analyses `(N, 1, SIZE)` in float32 by N, and counts by N and kind."""

    analyses: dict[int, np.ndarray]
    counts: dict[tuple[int, str], Counted]


def figures(device: torch.device, turns: int, N: int, name: str, y: np.ndarray, known: Known) -> Iterator[Figure]:
    """Yield the speed of a way, what it computes and moves, and how far it is from the eager one in float32."""
    way = WAYS[name]
    draw = partial(way.make(device, N, way.kind), y, torch.Generator(device).manual_seed(0))
    if way.make is eager:
        with Counted() as counted:
            analysis = draw()
        known.counts[N, way.kind] = counted
    else:
        analysis = draw()
    if name == "float32":
        known.analyses[N] = analysis
    elif N in known.analyses:
        difference = analysis - known.analyses[N]
        yield Figure(title(N, name), "sd off float32, largest", float(np.abs(difference).max()))
        yield Figure(title(N, name), "sd off float32, rms", float(np.sqrt((difference**2).mean())))
    time = seconds(draw, device, turns)
    yield Figure(title(N, name), "members/s", N / time)
    if (N, way.kind) in known.counts:
        yield from known.counts[N, way.kind].rates(title(N, name), time, way.kind, moved=way.make is not compiled)


def observations() -> np.ndarray:
    """Return every second variable of a normalised climate state, with errors."""
    rng = np.random.default_rng(0)
    x = load_prior("lorenz96").normaliser.apply(climate_states(Lorenz96(SIZE), 1, rng))[0]
    return (x[::2] + OBS_VARIANCE**0.5 * rng.normal(size=SIZE // 2)).astype(np.float32)


def eager(device: torch.device, N: int, kind: str) -> Run:
    """Return an analysis that launches operation after operation."""
    denoiser, visited = prior(device, kind), times(device)

    def run(y: np.ndarray, generator: torch.Generator) -> np.ndarray:
        guided = guidance(denoiser, torch.from_numpy(y).to(device))
        with torch.no_grad(), precision(kind):
            return sampled(guided, noise(N, generator), visited).cpu().numpy()

    return run


def compiled(device: torch.device, N: int, kind: str) -> Run:
    """Return an analysis whose operations are fused, derivative included."""
    guided, visited = guidance(prior(device, kind), torch.zeros(SIZE // 2, device=device)), times(device)
    fused = Compiled(guided)

    def run(y: np.ndarray, generator: torch.Generator) -> np.ndarray:
        guided.observed.y.copy_(torch.from_numpy(y))
        with torch.no_grad(), precision(kind):
            return sampled(fused, noise(N, generator), visited).cpu().numpy()

    return run


class OneGraph:
    """An analysis captured as a CUDA graph.

    It holds all that the captured kernels read, noise, observations, times and (in `guided`) weights: whatever lies
    outside the graph's own memory may be given to others as soon as nobody holds it.
    """

    def __init__(self, device: torch.device, N: int, kind: str) -> None:
        self.guided = guidance(prior(device, kind), torch.zeros(SIZE // 2, device=device))
        self.x, self.visited = torch.zeros(N, 1, SIZE, device=device), times(device)
        self.captured, self.device, self.kind = torch.cuda.CUDAGraph(), device, kind
        # A capture that fails leaves its own stream the current one; the outer context goes back in any case.
        with torch.no_grad(), precision(kind), torch.cuda.stream(torch.cuda.current_stream()):
            self.warm_up()
            with torch.cuda.graph(self.captured):
                self.analysis = sampled(self.guided, self.x, self.visited)

    def warm_up(self) -> None:
        """Let libraries set themselves up before the capture."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                sampled(self.guided, self.x, self.visited)
        torch.cuda.current_stream().wait_stream(side)

    def __call__(self, y: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """Put noise and observations where the graph reads them, and launch it."""
        self.guided.observed.y.copy_(torch.from_numpy(y))
        self.x.normal_(generator=generator)
        self.captured.replay()
        return self.analysis.cpu().numpy()


class Way(NamedTuple):
    """How an analysis is run, and in which precision."""

    make: Callable[[torch.device, int, str], Run]
    kind: str


WAYS = {
    "float32": Way(eager, "float32"),
    "tf32": Way(eager, "tf32"),
    "bfloat16": Way(eager, "bfloat16"),
    "float32, compiled": Way(compiled, "float32"),
    "bfloat16, compiled": Way(compiled, "bfloat16"),
    "bfloat16, one graph": Way(OneGraph, "bfloat16"),
}
# A failed capture may leave traces, so graphs are last.
OF_DEVICE = {
    "cpu": ("float32", "bfloat16", "float32, compiled", "bfloat16, compiled"),
    "cuda": ("float32", "tf32", "bfloat16", "bfloat16, compiled", "bfloat16, one graph"),
}


def sampled(guided: Any, x: Tensor, visited: Tensor) -> Tensor:
    sampler = DDIMSampler(guided, STEPS)
    for t, s in zip(visited[:-1], visited[1:], strict=True):
        x = sampler.step(x, t, s)
    return guided(x, visited[-1])


def times(device: torch.device) -> Tensor:
    return torch.linspace(1, 0, STEPS, device=device)


def noise(N: int, generator: torch.Generator) -> Tensor:
    return torch.randn(N, 1, SIZE, device=generator.device, generator=generator)


def guidance(denoiser: Any, y: Tensor) -> MomentMatching:
    return MomentMatching(denoiser, y, lambda x: x[:, 0, ::2], OBS_VARIANCE, iterations=1)


def prior(device: torch.device, kind: str) -> Any:
    learned = load_prior("lorenz96", device).under(VPCosine(margin=1 / 80))
    return (learned.autocast() if kind == "bfloat16" else learned).denoiser
