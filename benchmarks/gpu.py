"""From observation to ensemble on a GPU and on the processor: one table in one call.

    python benchmarks/gpu.py                        # every device there is; writes results/gpu.csv and prints it
    python benchmarks/gpu.py --device cpu --quick   # seconds, tiny sizes; prints only

What needs a GPU says "not measured" where there is none. First come the ceilings of the device, measured: the largest
rates at which it multiplies matrices and moves bytes. Passes of the network are given beside them. An analysis is 20
guided steps (moment matching, one iteration) with everything on the device between the observation, a NumPy array, and
the ensemble, another. On CUDA it runs eagerly in single precision and in bfloat16, and as one graph, which is launched
at once. Then come cycles of Score-4D: on the processor by its compiled kernels too, beside which a GPU has to hold up.
The last rows are Lorenz96 and its tangent as torch has them.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from result_tables import write_table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from scoreda.assimilation import Score4D
from scoreda.datasets import climate_states
from scoreda.diffusion import DDIMSampler, MomentMatching, VPCosine, load_prior
from scoreda.models import Lorenz96
from scoreda.observations import GaussianError, Identity, Observation

RESULTS = Path(__file__).parent / "results" / "gpu.csv"
NOT_MEASURED = "not measured"
SIZE, STEPS, OBS_VARIANCE = 40, 20, 0.1


class Sizes(NamedTuple):
    """How large the works are."""

    matrix: int
    numbers: int
    members: tuple[int, ...]
    turns: int
    window: int = 60


FULL, QUICK = Sizes(8192, 2**28, (16, 64, 256, 1024, 4096, 16384), 9), Sizes(256, 2**16, (4, 8), 1, 3)
ON_PROCESSOR = Sizes(2048, 2**26, (16, 64, 256, 1024), 3)


class Figure(NamedTuple):
    """One number of one device."""

    work: str
    unit: str
    value: float


def seconds(work: Callable[[], object], device: torch.device, turns: int) -> float:
    """Return the median time of a work by the clock on the wall, from an idle device to an idle device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def once() -> float:
        wait()
        start = perf_counter()
        work()
        wait()
        return perf_counter() - start

    once()
    return median(once() for _ in range(turns))


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, each by itself; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and go on."""
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [v for v in tree_leaves((args, kwargs, out)) if isinstance(v, Tensor)]
            self.bytes += sum(v.numel() * v.element_size() for v in tensors)
        return out


def ceilings(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    n = sizes.matrix
    for dtype in (torch.float32, torch.bfloat16):
        A = torch.randn(n, n, device=device).to(dtype)
        rate = 2 * n**3 / seconds(lambda A=A: A @ A, device, sizes.turns)
        yield Figure(f"ceiling, {n} x {n} matrices, {name_of(dtype)}", "TFLOP/s", rate / 1e12)
    source = torch.zeros(sizes.numbers, device=device)
    target = torch.empty_like(source)
    time = seconds(lambda: target.copy_(source), device, sizes.turns)
    yield Figure("ceiling, copy", "GB/s", 2 * source.nbytes / time / 1e9)


def forward_passes(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    denoiser, t = prior(device), torch.tensor(0.5, device=device)
    for dtype in (torch.float32, torch.bfloat16):
        for N in sizes.members:
            x = torch.randn(N, 1, SIZE, device=device)
            with torch.no_grad(), precision(device, dtype):
                time = seconds(lambda x=x: denoiser(x, t), device, sizes.turns)
                with FlopCounterMode(display=False) as counted, Traffic() as traffic:
                    denoiser(x, t)
            work = f"network, {N} members, {name_of(dtype)}"
            yield Figure(work, "TFLOP/s", counted.get_total_flops() / time / 1e12)
            yield Figure(work, "GB/s", traffic.bytes / time / 1e9)


def analyses(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    y = np.random.default_rng(0).normal(size=SIZE // 2).astype(np.float32)
    for way, make in WAYS[device.type].items():
        for N in sizes.members:
            time = seconds(partial(make(device, N), y), device, sizes.turns)
            yield Figure(analysis_name(N, way), "members/s", N / time)


def analysis_name(N: int, way: str) -> str:
    return f"analysis, {N} members, {way}"


def eager(device: torch.device, N: int, dtype: torch.dtype) -> Callable[[np.ndarray], np.ndarray]:
    """Return an analysis that launches operation after operation."""
    denoiser, visited = prior(device), times(device)

    def run(y: np.ndarray) -> np.ndarray:
        guided = guidance(denoiser, torch.from_numpy(y).to(device))
        with torch.no_grad(), precision(device, dtype):
            return sampled(guided, torch.randn(N, 1, SIZE, device=device), visited).cpu().numpy()

    return run


def graph(device: torch.device, N: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return an analysis captured as a CUDA graph in bfloat16, which reads noise and observations where they lie."""
    guided, visited = guidance(prior(device), torch.zeros(SIZE // 2, device=device)), times(device)
    x, captured, side = torch.randn(N, 1, SIZE, device=device), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.no_grad(), precision(device, torch.bfloat16):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries set themselves up before the capture
            for _ in range(3):
                sampled(guided, x, visited)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(captured):
            analysis = sampled(guided, x, visited)

    def run(y: np.ndarray) -> np.ndarray:
        guided.observed.y.copy_(torch.from_numpy(y))
        x.normal_()
        captured.replay()
        return analysis.cpu().numpy()

    return run


WAYS = {
    "cpu": {"float32": partial(eager, dtype=torch.float32)},
    "cuda": {
        "float32": partial(eager, dtype=torch.float32),
        "bfloat16": partial(eager, dtype=torch.bfloat16),
        "bfloat16, one graph": graph,
    },
}


def sampled(guided: MomentMatching, x: Tensor, visited: Tensor) -> Tensor:
    sampler = DDIMSampler(guided, STEPS)
    for t, s in zip(visited[:-1], visited[1:], strict=True):
        x = sampler.step(x, t, s)
    return guided(x, visited[-1])


def times(device: torch.device) -> Tensor:
    return torch.linspace(1, 0, STEPS, device=device)


def guidance(denoiser: Any, y: Tensor) -> MomentMatching:
    return MomentMatching(denoiser, y, lambda x: x[:, 0, ::2], OBS_VARIANCE, iterations=1)


def prior(device: torch.device) -> Any:
    return load_prior("lorenz96", device).under(VPCosine(margin=1 / 80)).denoiser


def precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16, cache_enabled=False)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def cycles_of_score4d(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    for name, where in {"torch": device, "kernels": None}.items():
        if where is not None or device.type == "cpu":
            time = seconds(filled_score4d(device, where, sizes.window), device, sizes.turns)
            yield Figure(f"Score-4D, {sizes.window} times, {name}", "cycles/s", 1 / time)


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


def lorenz96(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    model = Lorenz96(SIZE)
    for N in sizes.members:
        x = 8 + torch.randn(N, SIZE, device=device)
        tangent = partial(torch.func.jvp, partial(model.torch_step, steps=10), (x,), (x,))
        for name, work in {"step": partial(model.torch_step, x, 10), "tangent": tangent}.items():
            yield Figure(f"Lorenz96 {name}, {N} members", "steps/s", 10 * N / seconds(work, device, sizes.turns))


def measured(device: torch.device, sizes: Sizes) -> dict[tuple[str, str], float]:
    works = (ceilings, forward_passes, analyses, cycles_of_score4d, lorenz96)
    return {(f.work, f.unit): f.value for work in works for f in work(device, sizes)}


def table(by_device: dict[str, dict[tuple[str, str], float]]) -> list[dict[str, str]]:
    """Return one line per work, with a cell for every device; ways of an analysis are listed if nobody went them."""
    works = dict.fromkeys(key for found in by_device.values() for key in found)
    works |= {(analysis_name(N, way), "members/s"): None for N in FULL.members for way in WAYS["cuda"]}
    cell = lambda device, key: f"{by_device[device][key]:.4g}" if key in by_device.get(device, {}) else NOT_MEASURED
    return [
        dict(work=work, unit=unit, cpu=cell("cpu", (work, unit)), cuda=cell("cuda", (work, unit)))
        for work, unit in works
    ]


def crossover(by_device: dict[str, dict[tuple[str, str], float]]) -> str:
    """Return the smallest ensemble that any way on the GPU analyses faster than the processor does."""
    cpu, cuda = by_device.get("cpu", {}), by_device.get("cuda", {})
    for work, unit in cpu:
        if not work.startswith("analysis"):
            continue
        same = [value for (w, u), value in cuda.items() if w.startswith(work.removesuffix(", float32"))]
        if same and max(same) > cpu[work, unit]:
            return work.split(", ")[1]
    return NOT_MEASURED


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="only this one")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all of it runs")
    arguments = parser.parse_args()
    there = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    full = dict(cpu=ON_PROCESSOR, cuda=FULL)
    chosen = [device for device in there if arguments.device in (None, device)]
    by_device = {d: measured(torch.device(d), QUICK if arguments.quick else full[d]) for d in chosen}
    rows = table(by_device) + [dict(work="the GPU is faster from", unit="", cpu="", cuda=crossover(by_device))]
    for row in rows:
        print("{work:44} {unit:10} {cpu:>14} {cuda:>14}".format(**row))
    if not arguments.quick and not arguments.device:
        write_table(RESULTS, rows)


if __name__ == "__main__":
    main()
