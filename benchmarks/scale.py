"""What a variable costs on domains of 40 to 1,000,000 of them, what cutting them changes, how memory grows with files.

    python benchmarks/scale.py                    # ten minutes on one core; writes results/scale.csv and prints it
    python benchmarks/scale.py --only network     # the rows of one kind of work
    python benchmarks/scale.py --only halo        # how far an analysis in blocks is from that of the whole; no times
    python benchmarks/scale.py --only processes   # training by torchrun; wall time, so needs an idle machine
    python benchmarks/scale.py --only every_core  # the same work on every core at once; likewise

Every row is a process of its own, so that its peak resident memory is its own. Times are of the processor, except those
of `processes`, which are wall time, medians of interleaved turns. With `every_core` as many processes as there are
cores do a row at once; its cost is the mean of theirs, more than that of one by what they take from each other.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from result_tables import update_table

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
RESULTS = Path(__file__).parent / "results" / "scale.csv"
COLUMNS = ("work", "size", "value", "unit", "peak_rss_mb")
SIZES = (40, 400, 4000, 40_000, 400_000, 1_000_000)
FILES = (1, 10)
RADII = (1, 2, 4, 8, 12)
SHARED = ("network", "derivative", "step", "letkf")  # works of the plan for many nodes
PROCESSES, TURNS = (1, 2), 3
BUDGET = 64_000_000  # bytes for the network


def timed(work: Callable[[], object], least: float = 1.0) -> float:
    """Return processor seconds of one call, of as many as fill `least` seconds; the first is not counted."""
    work()
    calls, start = 0, process_time()
    while calls == 0 or process_time() - start < least:
        work()
        calls += 1
    return (process_time() - start) / calls


def network(size: int) -> tuple[float, str]:
    """Evaluate the shipped network in tiles, with enough members to fill a tile."""
    import torch

    from scoreda.diffusion import load_prior

    tiled, members = load_prior("lorenz96").within(BUDGET).denoiser.network, max(1, 4000 // size)
    x, c = torch.randn(members, 1, size), torch.zeros(members)
    with torch.no_grad():
        return 1e6 * timed(lambda: tiled(x, c)) / (size * members), "us a variable"


def derivative(size: int) -> tuple[float, str]:
    """Evaluate it together with a product with its Jacobian, as guidance does."""
    import torch
    from torch.func import vjp

    from scoreda.diffusion import load_prior

    tiled, members = load_prior("lorenz96").within(BUDGET).denoiser.network, max(1, 4000 // size)
    x, c = torch.randn(members, 1, size), torch.zeros(members)
    work = lambda: vjp(lambda x: tiled(x, c), x)[1](x)
    return 1e6 * timed(work) / (size * members), "us a variable"


def step(size: int) -> tuple[float, str]:
    """Advance ten members by one step of Lorenz96."""
    import numpy as np

    from scoreda.models import Lorenz96

    model, E = Lorenz96(size=size), np.random.default_rng(1).normal(3.0, 3.0, size=(10, size))
    return 1e6 * timed(lambda: model.step(E)) / (size * 10), "us a variable"


def analysis(size: int, make: Callable[..., Any], block: int = 0) -> tuple[float, str]:
    """Analyse ten members, every second variable observed; whole, or in blocks (two at least) one after the other."""
    import dask
    import numpy as np

    from scoreda.assimilation import Decomposed
    from scoreda.models import Lorenz96
    from scoreda.observations import EveryNth, GaussianError, Observation

    rng, method = np.random.default_rng(1), make(Lorenz96(size=size))
    method = Decomposed(method, max(2, size // block)) if block else method
    obs = Observation(0.0, rng.normal(3.0, 3.0, size // 2), EveryNth(size, 2), GaussianError(1.0, size // 2))
    state = method.init(rng.normal(3.0, 1.0, size=(10, size)))
    with dask.config.set(scheduler="synchronous"):
        return 1e6 * timed(lambda: method.step(state, obs, rng)) / size, "us a variable"


def make_letkf(model: Any) -> Any:
    """Return the LETKF of radius 4."""
    from scoreda.assimilation import LETKF

    return LETKF(model, 4.0, rotate=True)


def make_score(model: Any, **learned: Any) -> Any:
    """Return the coupled score filter of radius 4: by itself, its Gaussian part."""
    from scoreda.assimilation import CoupledScoreFilter

    return CoupledScoreFilter(model, 4.0, **learned)


def make_learned_score(model: Any) -> Any:
    """Return the same with the shipped prior, and a climatology of 400 states."""
    import numpy as np

    from scoreda.datasets import climatology
    from scoreda.diffusion import load_prior

    climate = climatology(model, np.random.default_rng(2), samples=400)
    return make_score(model, prior=load_prior("lorenz96"), climatology=climate, climate_radius=15.0)


def halo(
    radii: int, learned: bool = True, double: bool = False, uneven: bool = False, climate_radius: float | None = 15.0
) -> tuple[float, str]:
    """Analyse 240 variables in two blocks with halos of so many radii, 5 points each; how far that is from the whole.

    With `uneven` the members are 7.5 times farther apart on one half of the grid; `double` is the network's precision.
    """
    import numpy as np

    from scoreda.assimilation import CoupledScoreFilter, Decomposed, State
    from scoreda.datasets import climatology
    from scoreda.diffusion import load_prior
    from scoreda.models import Lorenz96
    from scoreda.observations import EveryNth, GaussianError, Observation

    rng, model = np.random.default_rng(1), Lorenz96(size=240)
    E = model.step(model.step(model.random_states(1, rng), 400) + rng.normal(size=(8, 240)), 10)
    if uneven:
        E = E.mean(0) + (E - E.mean(0)) * np.where(np.arange(240) < 120, 0.2, 1.5)
    known: dict[str, Any] = {}
    if learned:
        prior, climate = load_prior("lorenz96"), climatology(model, np.random.default_rng(2), samples=1000)
        known = dict(prior=prior, climatology=climate, climate_radius=climate_radius)
    if double:
        prior.denoiser.double()
    method = CoupledScoreFilter(model, 5.0, **known)
    obs = Observation(0.0, E[0, ::2] + rng.normal(size=120), EveryNth(240, 2), GaussianError(1.0, 120))
    ways = method, Decomposed(method, blocks=2, halo=5 * radii)
    whole, cut = (way.step(State(0.0, E), obs, np.random.default_rng(3))[0].ensemble for way in ways)
    return float(np.abs(cut - whole).max() / np.abs(whole - E).max()), "of the largest increment"


def archive(folder: Path, times: int) -> Path:
    """Write an archive of 16 MB, or so many times that."""
    from scoreda.datasets import write_archive
    from scoreda.models import Lorenz96

    path = folder / "archive.nc"
    write_archive(path, Lorenz96(size=400), 500 * times, states=20, interval=1, seed=1, spinup=0.5)
    return path


def simulate(times: int) -> tuple[float, str]:
    """Simulate an archive into a file."""
    with tempfile.TemporaryDirectory() as folder:
        return archive(Path(folder), times).stat().st_size / 1e6, "MB of file"


def train(times: int) -> tuple[float, str]:
    """Train from an archive that stays on disk, made by a process of its own."""
    from scoreda.datasets import Normaliser, read_chunks
    from scoreda.diffusion import EDM, ConvNet1d, KarrasDenoiser, Trainer, TrainSettings
    from scoreda.diffusion.training import ArchiveSamples

    with tempfile.TemporaryDirectory() as folder:
        made = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import scale; from pathlib import Path"
        subprocess.run([sys.executable, "-c", f"{made}; scale.archive(Path({folder!r}), {times})"], check=True)
        path, settings = Path(folder) / "archive.nc", TrainSettings(steps=40, batch=32, validate_every=40)
        normaliser = Normaliser.of_chunks(read_chunks(path))
        data = ArchiveSamples(path, normaliser)
        valid = normaliser.apply(next(read_chunks(path, slice(0, 5)))).reshape(-1, 1, 400)
        Trainer(KarrasDenoiser(ConvNet1d(width=16), EDM()), data, valid, settings, Path(folder)).run()
        return path.stat().st_size / 1e6, "MB of file"


def twin_of(path: Path, cycles: int) -> Any:
    """Simulate so many cycles of 1000 variables, every fourth observed, into a file; return the model."""
    from scoreda.datasets import simulate_to
    from scoreda.models import Lorenz96
    from scoreda.observations import EveryNth, GaussianError, Network

    model = Lorenz96(size=1000)
    simulate_to(path, model, Network(EveryNth(1000, 4), GaussianError(1.0, 250), 0.05), cycles, seed=1, spinup=5.0)
    return model


def twin(times: int) -> tuple[float, str]:
    """Simulate a twin of 1600 cycles, or so many times that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twin.nc"
        twin_of(path, 1600 * times)
        return path.stat().st_size / 1e6, "MB of file"


def assimilate(times: int) -> tuple[float, str]:
    """Run 60 cycles of twenty members on 1000 variables, or so many times that, from a file into a file."""
    import numpy as np

    from scoreda.assimilation import LETKF, assimilate_to, initial_ensemble
    from scoreda.datasets import open_dataset

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.nc"
        model = twin_of(Path(folder) / "twin.nc", 60 * times)
        with open_dataset(Path(folder) / "twin.nc") as ds:
            E = initial_ensemble(ds, 20, rng=np.random.default_rng(2))
            assimilate_to(path, ds, LETKF(model, 4.0, inflation=1.03), E, np.random.default_rng(3))
        return path.stat().st_size / 1e6, "MB of file"


def training_process(steps: int) -> None:
    """Be one of the processes of `torchrun`: train a network on its share of batches of 64; the first one tells."""
    import torch

    from scoreda.diffusion import ConvNet1d, KarrasDenoiser, Trainer, TrainSettings
    from scoreda.diffusion.schedules import EDM
    from scoreda.diffusion.training import process_group

    torch.set_num_threads(1)
    with process_group() as device, tempfile.TemporaryDirectory() as folder:
        data = torch.randn(512, 1, 400)
        settings = TrainSettings(steps=steps, batch=64)
        trainer = Trainer(KarrasDenoiser(ConvNet1d(), EDM()), data, data[:8], settings, Path(folder), device)
        trainer.update()
        trainer.ranks.wait()
        start = perf_counter()
        for _ in range(steps):
            trainer.update()
        trainer.ranks.wait()
        if trainer.ranks.first:
            print(f"rate {64 * steps / (perf_counter() - start)}")


WORK: dict[str, tuple[Callable[[int], tuple[float, str]], tuple[int, ...]]] = {
    "network": (network, SIZES),
    "derivative": (derivative, SIZES),
    "step": (step, SIZES),
    "letkf": (partial(analysis, make=make_letkf), SIZES),
    "letkf_blocks": (partial(analysis, make=make_letkf, block=4000), SIZES[1:]),
    "score": (partial(analysis, make=make_score), SIZES[:2]),
    "score_blocks": (partial(analysis, make=make_score, block=200), SIZES[1:4]),
    "learned_score": (partial(analysis, make=make_learned_score), SIZES[:2]),
    "learned_score_blocks": (partial(analysis, make=make_learned_score, block=200), SIZES[1:3]),
    "halo_gaussian": (partial(halo, learned=False), RADII),
    "halo_learned": (halo, RADII),
    "halo_learned_double": (partial(halo, double=True), RADII),
    "halo_learned_uneven": (partial(halo, uneven=True), RADII),
    "halo_learned_no_climate_radius": (partial(halo, climate_radius=None), RADII),
    "simulate": (simulate, FILES),
    "twin": (twin, FILES),
    "train": (train, FILES),
    "assimilate": (assimilate, FILES),
}


def child(name: str, size: int) -> dict[str, object]:
    """Do one row in a process of its own."""
    command = [sys.executable, __file__, "--child", name, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD)
    value, unit, peak = done.stdout.strip().splitlines()[-1].split(";")
    return dict(work=name, size=size, value=f"{float(value):.4g}", unit=unit, peak_rss_mb=peak)


def processes() -> list[dict[str, object]]:
    """Train on one process and on two, in turns."""
    rates: dict[int, list[float]] = {number: [] for number in PROCESSES}
    for _ in range(TURNS):
        for number in PROCESSES:
            launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
            command = [*launch, __file__, "--child", "training_process", "12"]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD)
            rates[number].append(float(done.stdout.split("rate ")[1].split()[0]))
    row = dict(work="processes", unit="samples a second", peak_rss_mb="")
    return [row | dict(size=number, value=f"{statistics.median(r):.4g}") for number, r in rates.items()]


def every_core(name: str) -> dict[str, object]:
    """Do the row of the largest size on every core at once."""
    size, cores = max(WORK[name][1]), os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        rows = list(pool.map(lambda _: child(name, size), range(cores)))
    value = statistics.mean(float(str(row["value"])) for row in rows)
    return rows[0] | dict(work=f"{name}_every_core", value=f"{value:.4g}")


def write(rows: list[dict[str, object]]) -> None:
    """Update the rows of the table that were made."""
    update_table(RESULTS, rows, lambda row: (row["work"], str(row["size"])), COLUMNS)


def main(only: str) -> None:
    """Make the rows whose work contains a word."""
    chosen = [(name, size) for name, (_, sizes) in WORK.items() if only in name for size in sizes]
    for name, size in chosen:
        row = child(name, size)
        print(*row.values(), flush=True)
        write([row])
    for name in SHARED if only in "every_core" else ():
        row = every_core(name)
        print(*row.values(), flush=True)
        write([row])
    if only in "processes":
        rows = processes()
        print(*rows, sep="\n")
        write(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose work contains this")
    parser.add_argument("--child", nargs=2, metavar=("WORK", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is None:
        main(arguments.only)
    elif arguments.child[0] == "training_process":
        training_process(int(arguments.child[1]))
    else:
        value, unit = WORK[arguments.child[0]][0](int(arguments.child[1]))
        print(value, unit, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6, sep=";")
