"""From observation to ensemble on a GPU and on the processor: one table in one call.

    python benchmarks/gpu.py                        # every device there is; writes results/gpu.csv and prints it
    python benchmarks/gpu.py --device cpu --quick   # seconds, tiny sizes; prints only

What needs a GPU says "not measured" where there is none, and what failed says why; every figure is told as it comes.
First come the ceilings of a device, measured: the largest rates at which it multiplies matrices (8192 x 8192 on a GPU,
2048 x 2048 on the processor) and moves bytes. Passes of the network and analyses are given as rates too, with their
share of these; bytes are those of operations one by one, so caches may take them above the ceiling.

An analysis is 20 guided steps (moment matching, one iteration) with everything on the device between the observation, a
NumPy array, and the ensemble, another. The observation is of a climate state. Ways other than eager float32 say how far
they are from it for the same noise, in standard deviations of the climate. Float32 is float32: TF32, which CUDA takes
for convolutions by default, has rows of its own. Cycles of Score-4D run by the processor's compiled kernels too, beside
which a GPU has to hold up. Lorenz96 and its tangent are as torch has them.
"""

import argparse
import sys
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path

import torch
from gpu_rows.analyses import OF_DEVICE, WAYS, analyses, title
from gpu_rows.meters import Figure, Sizes, attempted
from gpu_rows.works import ceilings, cycles_of_score4d, forward_passes, lorenz96
from result_tables import NOT_MEASURED, write_measured

RESULTS = Path(__file__).parent / "results" / "gpu.csv"
LINE = "{work:46} {unit:24} {cpu:>12} {cpu_share:>6} {cuda:>12} {cuda_share:>6}"
QUICK = Sizes(256, 2**16, (4,), 1, 3, compiled=False)
FULL = dict(
    cuda=Sizes(8192, 2**28, (16, 64, 256, 1024, 4096, 16384), 9),
    cpu=Sizes(2048, 2**26, (16, 64, 256, 1024), 3),
)
DEVICES = ("cpu", "cuda")  # in the order of the columns

Found = Mapping[tuple[str, str], Figure]


def measured(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    """Yield all figures of a device, each as soon as it is there."""
    yield described(device)
    # Analyses are last, and the graphs among them: a capture that fails may spoil what follows.
    works = (ceilings, forward_passes, lorenz96, cycles_of_score4d, analyses)
    for task in chain.from_iterable(work(device, sizes) for work in works):
        yield from attempted(task)


def described(device: torch.device) -> Figure:
    threads = f"{torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else threads
    return Figure("device", f"torch {torch.__version__}", name)


def table(by_device: Mapping[str, Found]) -> list[dict[str, str]]:
    """Return one line per work, two cells for every device; ways of an analysis are listed if nobody went them."""
    works = dict.fromkeys(key for found in by_device.values() for key in found)
    works |= {(title(N, way), "members/s"): None for N in FULL["cuda"].members for way in OF_DEVICE["cuda"]}
    return [dict(work=work, unit=unit, **cells(by_device, work, unit)) for work, unit in works]


def cells(by_device: Mapping[str, Found], work: str, unit: str) -> dict[str, str]:
    """Return what each device has to say of a work, and its share of the ceiling."""
    every: dict[str, str] = {}
    for device in DEVICES:
        found = by_device.get(device, {})
        figure = found.get((work, unit), Figure(work, unit, NOT_MEASURED))
        every |= {device: text(figure), f"{device}_share": share(figure, found)}
    return every


def text(figure: Figure) -> str:
    return figure.value if isinstance(figure.value, str) else f"{figure.value:.4g}"


def share(figure: Figure, found: Found) -> str:
    """Return a figure as a percentage of its ceiling, nothing where there is none."""
    ceiling = number(found, figure.ceiling, figure.unit)
    return f"{100 * figure.value / ceiling:.2g} %" if ceiling and not isinstance(figure.value, str) else ""


def number(found: Found, work: str, unit: str) -> float | None:
    """Return what was measured, None for what was not or failed."""
    figure = found.get((work, unit))
    return None if figure is None or isinstance(figure.value, str) else figure.value


def crossover(by_device: Mapping[str, Found], members: Collection[int]) -> str:
    """Return from which ensemble on the GPU's best way is faster than the processor's, as far as both ran."""
    cpu, cuda = ({N: best(by_device.get(device, {}), N) for N in members} for device in DEVICES)
    both = [N for N in sorted(members) if cpu[N] and cuda[N]]
    slower = [N for N in both if cuda[N] <= cpu[N]]
    faster = [N for N in both if N > max(slower, default=0)]
    if not both:
        return NOT_MEASURED
    return f"{faster[0]} members" if faster else f"above {both[-1]} members"


def best(found: Found, N: int) -> float:
    """Return the members that the fastest way analyses in a second, 0 if none ran."""
    return max(number(found, title(N, way), "members/s") or 0.0 for way in WAYS)


def report(sizes: Mapping[str, Sizes]) -> list[dict[str, str]]:
    """Measure what there are sizes for; every figure is told as it comes."""
    by_device: dict[str, dict[tuple[str, str], Figure]] = {device: {} for device in sizes}
    for device, of_device in sizes.items():
        for figure in measured(torch.device(device), of_device):
            by_device[device][figure.work, figure.unit] = figure
            print(device, figure.work, figure.unit, text(figure), sep=" | ", file=sys.stderr, flush=True)
    members = {N for of_device in sizes.values() for N in of_device.members}
    last = dict(cpu="", cpu_share="", cuda=crossover(by_device, members), cuda_share="")
    return [*table(by_device), dict(work="the GPU is faster from", unit="", **last)]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=DEVICES, help="only this one")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all of it runs")
    chosen = parser.parse_args(arguments)
    there = ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",)
    rows = report({d: QUICK if chosen.quick else FULL[d] for d in there if chosen.device in (None, d)})
    for row in rows:
        print(LINE.format(**row).rstrip())
    if not chosen.quick and not chosen.device:
        write_measured(RESULTS, rows, key=("work", "unit"))


if __name__ == "__main__":
    main()
