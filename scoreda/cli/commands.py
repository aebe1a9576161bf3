"""What every command does."""

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from scoreda.cli.parser import Command
from scoreda.errors import ScoredaError

__all__ = ["COMMANDS"]

T = TypeVar("T")


def _demo(args: argparse.Namespace) -> None:
    from scoreda.experiments.demo import demo_config, run_demo

    config = demo_config(args.prior, args.overrides)
    if not _dry(args, config):
        rows = run_demo(config, args.out, _device(args))
        _show(rows, args.out)


def _simulate(args: argparse.Namespace) -> None:
    from scoreda.experiments.config import Training, load_any, resolved
    from scoreda.experiments.folder import RunFolder

    config = load_any(_config(args), args.overrides)
    if _dry(args, config):
        return
    folder = RunFolder(Path(args.out))
    if isinstance(config, Training):
        from scoreda.experiments.train import archive_file

        print(archive_file(resolved(config), folder, args.overwrite))
    else:
        from scoreda.experiments.run import pinned
        from scoreda.experiments.twins import make_twins

        print(*make_twins(pinned(config)[0], folder, args.overwrite), sep="\n")


def _train(args: argparse.Namespace) -> None:
    from scoreda.experiments.config import Training, load_config, resolved
    from scoreda.experiments.train import train_prior

    config = load_config(Training, _config(args), args.overrides)
    memory = _memory(args, math.inf)
    if not _dry(args, config, memory):
        train_prior(resolved(config), args.out, _device(args), args.resume, args.overwrite, memory)
        if os.environ.get("RANK", "0") == "0":  # the others of `torchrun` have written nothing
            print(f"prior: {args.out}\nmodel card: {Path(args.out) / 'card.md'}")


def _sample(args: argparse.Namespace) -> None:
    from scoreda.experiments.sample import describe_samples, write_samples

    memory = _memory(args, None)
    if args.dry_run:
        _check_device(args)
        print(describe_samples(args.prior, args.number, args.size, memory), end="")
        return
    write_samples(args.prior, args.number, args.size, args.seed, Path(args.out), _device(args), memory)
    print(args.out)


def _assimilate(args: argparse.Namespace) -> None:
    from scoreda.experiments.config import Experiment, load_config
    from scoreda.experiments.folder import RunFolder
    from scoreda.experiments.run import run_experiment

    config = load_config(Experiment, _config(args), args.overrides)
    memory = _memory(args, math.inf)
    if _dry(args, config, memory):
        return
    folder = RunFolder(Path(args.out))
    if not (args.resume or args.overwrite) and any(folder.begun(*cell) for cell in config.cells()):
        raise ScoredaError(f"{args.out} holds results. Pass --resume to continue, or --overwrite to start again.")
    rows = run_experiment(config, args.out, _device(args), args.overwrite, memory=memory)
    _show(rows, args.out, report=False)


def _forecast(args: argparse.Namespace) -> None:
    from scoreda.assimilation import forecast
    from scoreda.datasets import open_dataset, write_dataset
    from scoreda.datasets.layout import check_writable

    if args.every < 1:
        raise ScoredaError(f"--every must be at least 1, got {args.every}. 1 starts from every analysis.")
    check_writable(args.out)
    with open_dataset(args.analysis, needs=("analysis",)) as run:
        write_dataset(forecast(run.isel(time=slice(None, None, args.every)), lead_times=args.lead), args.out)
    print(args.out)


def _verify(args: argparse.Namespace) -> None:
    if Path(args.run).is_dir():
        from scoreda.experiments.run import score_folder

        _show(score_folder(args.run), args.run, report=False)
    else:
        from scoreda.datasets import open_dataset
        from scoreda.verification import summary

        with open_dataset(args.run) as run:
            print("\n".join(f"{name:<12} {value:.6g}" for name, value in summary(run, args.burn_in).items()))


def _bench(args: argparse.Namespace) -> None:
    from scoreda.experiments.threads import one_thread

    one_thread()
    from scoreda.experiments.config import load_experiments
    from scoreda.experiments.shipped import find_config
    from scoreda.experiments.tuning import tuned_as

    configs = load_experiments([find_config(path) for path in args.config], args.overrides)
    if args.untuned:
        configs = [config.untuned() for config in configs]
    if args.tuned:
        configs = [tuned_as(config, args.tuned) for config in configs]
    if args.list:
        cells = [(config.name, *cell) for config in configs for cell in config.cells()]
        print("\n".join(f"{name} {case} {method} seed{seed}" for name, case, method, seed in cells))
    elif not any([_dry(args, config, _memory(args, math.inf)) for config in configs]):
        _run_bench(args, configs)


def _run_bench(args: argparse.Namespace, configs: Sequence[Any]) -> None:
    """Run configurations together, each into a folder of its own if there are several."""
    from scoreda.experiments.cluster import executor, local_workers
    from scoreda.experiments.report import write_report
    from scoreda.experiments.run import CellsFailed, run_experiments

    outs = [Path(args.out) / config.name if len(configs) > 1 else Path(args.out) for config in configs]
    jobs = list(zip(configs, outs, strict=True))
    device, workers = _device(args), args.workers
    if workers is None:
        shared = device != "cpu" and any(config.needs_prior() for config in configs)  # one GPU for all processes
        workers = 0 if args.scheduler or shared else local_workers()
    try:
        with executor(workers, args.scheduler) as execute:
            tables = run_experiments(jobs, device, args.overwrite, execute, _memory(args, math.inf))
    except CellsFailed:
        for out in outs:
            if (out / "scores.csv").is_file():
                print(f"of what has run: {write_report(out)}")
        raise
    for out, rows in zip(outs, tables, strict=True):
        write_report(out)
        _show(rows, out)
    if len(outs) > 1:
        print(f"all together: {write_report(args.out)}")


def _report(args: argparse.Namespace) -> None:
    from scoreda.experiments.report import write_report

    print(write_report(args.run, figures=not args.tables))


def _info(args: argparse.Namespace) -> None:
    from scoreda.experiments.info import info

    print(info())


def _config(args: argparse.Namespace) -> Path:
    from scoreda.experiments.shipped import find_config

    return find_config(args.config[0])


def _device(args: argparse.Namespace) -> str:
    from scoreda.experiments.device import resolve_device

    return resolve_device(args.device)


def _check_device(args: argparse.Namespace) -> None:
    """Refuse a device that is not there; `auto` always is, and need not load torch."""
    if getattr(args, "device", "auto") != "auto":
        _device(args)


def _memory(args: argparse.Namespace, without: T) -> int | T:
    """Return the bytes of --memory, or what stands for no limit."""
    from scoreda.experiments.memory import parse_size

    return without if args.memory is None else parse_size(args.memory)


def _dry(args: argparse.Namespace, config: Any, memory: float = math.inf) -> bool:
    """Print the configuration and what it takes, if that is all that was asked for."""
    if args.dry_run:
        from scoreda.experiments.estimate import describe

        _check_device(args)
        print(describe(config, memory), end="")
    return args.dry_run


def _show(rows: Sequence[dict[str, Any]], out: str | Path, report: bool = True) -> None:
    """Print the score table and where the files are."""
    from scoreda.experiments.scores import text_table

    print(text_table(rows), "", sep="\n")
    for name in ("scores.csv", "timings.csv", *(["report.html"] if report else [])):
        print(Path(out) / name)


COMMANDS: dict[str, Command] = {
    "demo": _demo,
    "simulate": _simulate,
    "train": _train,
    "sample": _sample,
    "assimilate": _assimilate,
    "forecast": _forecast,
    "verify": _verify,
    "bench": _bench,
    "report": _report,
    "info": _info,
}
