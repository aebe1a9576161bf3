"""From observation to ensemble on a GPU and on the processor: one table in one call.

    python benchmarks/gpu.py                        # every device there is; writes results/gpu.csv and prints it
    python benchmarks/gpu.py --device cuda          # the columns of one device; those of the other stay as they are
    python benchmarks/gpu.py --device cpu --quick   # seconds, tiny sizes; prints only

What needs a GPU says "not measured" where there is none, and what failed says why; every figure is told and written as
it comes, in the place of an earlier one, so that a call that is cut short leaves what it has.
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
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import torch
from gpu_rows.analyses import WAYS, analyses, title, ways
from gpu_rows.meters import Figure, Sizes, attempted
from gpu_rows.works import ceilings, cycles_of_score4d, forward_passes, lorenz96
from result_tables import NOT_MEASURED, read_table, write_table

RESULTS = Path(__file__).parent / "results" / "gpu.csv"
LINE = "{work:46} {unit:24} {cpu:>12} {cpu_share:>6} {cuda:>12} {cuda_share:>6}"
LAST = "the GPU is faster from"
QUICK = Sizes(256, 2**16, (4,), 1, 3)
FULL = dict(
    cuda=Sizes(8192, 2**28, (16, 64, 256, 1024, 4096, 16384), 9, compiled=(64, 4096)),
    cpu=Sizes(2048, 2**26, (16, 64, 256, 1024), 3, compiled=(16, 64, 256, 1024)),
)
DEVICES = ("cpu", "cuda")  # in the order of the columns

Found = Mapping[tuple[str, str], Figure]
Rows = Sequence[Mapping[str, str]]


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
    works |= {(title(N, way), "members/s"): None for way, N in ways("cuda", FULL["cuda"])}
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


def beside(rows: Rows, known: Rows) -> list[dict[str, str]]:
    """Return rows, what is known already in the place of what was not measured, and then the other known ones."""
    made, earlier = ({(row["work"], row["unit"]): row for row in some} for some in (rows, known))
    return [kept(made.get(key, {}), earlier.get(key, {})) for key in made | earlier]


def kept(row: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Return a row with the cells of an earlier one, if there is one, for devices that it was not measured on."""
    absent = [device for device in DEVICES if row.get(device, NOT_MEASURED) == NOT_MEASURED and known]
    return {**known, **row, **{name: known[name] for device in absent for name in (device, f"{device}_share")}}


def figures(rows: Rows, device: str) -> Found:
    """Return the figures of a device that a table has."""
    found = {(row["work"], row["unit"]): row[device] for row in rows}
    return {key: Figure(*key, value_of(cell)) for key, cell in found.items()}


def value_of(cell: str) -> float | str:
    """Return a cell as the number that it is, if it is one."""
    try:
        return float(cell)
    except ValueError:
        return cell


def report(sizes: Mapping[str, Sizes], known: Rows = ()) -> Iterator[list[dict[str, str]]]:
    """Measure what there are sizes for; tell every figure as it comes, and yield the table as it then is."""
    known = [row for row in known if row["work"] != LAST]
    by_device: dict[str, dict[tuple[str, str], Figure]] = {device: {} for device in sizes}
    for device, of_device in sizes.items():
        for figure in measured(torch.device(device), of_device):
            by_device[device][figure.work, figure.unit] = figure
            print(device, figure.work, figure.unit, text(figure), sep=" | ", file=sys.stderr, flush=True)
            yield with_crossover(beside(table(by_device), known))


def with_crossover(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return rows, and behind them from which ensemble on the GPU is faster."""
    members = {N for of_device in (*FULL.values(), QUICK) for N in of_device.members}
    answer = crossover({device: figures(rows, device) for device in DEVICES}, members)
    return [*rows, dict(work=LAST, unit="", cpu="", cpu_share="", cuda=answer, cuda_share="")]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=DEVICES, help="only this one")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all of it runs")
    chosen = parser.parse_args(arguments)
    there = ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",)
    sizes = {d: QUICK if chosen.quick else FULL[d] for d in there if chosen.device in (None, d)}
    if not sizes:
        parser.error("torch sees no GPU. Leave --device out, or install a CUDA build of torch.")
    for rows in report(sizes, () if chosen.quick else read_table(RESULTS)):
        if not chosen.quick:
            write_table(RESULTS, rows)
    for row in rows:
        print(LINE.format(**row).rstrip())


if __name__ == "__main__":
    main()
