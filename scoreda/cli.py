"""The command line. Every command loads what it needs when it runs, so that help and errors come at once."""

import argparse
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

from scoreda import __version__
from scoreda.errors import ScoredaError

__all__ = ["main"]

T = TypeVar("T")

INTERNAL = 1
BAD_INPUT = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a mistake of ours, 2 for bad input, 130 when interrupted."""
    args = _parse(argv)
    # A cycle is many small decompositions, which BLAS threads slow down, several times over on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with _output(args.quiet):
            args.command(args)
    except KeyboardInterrupt:
        print("scoreda: interrupted. Finished parts are kept.", file=sys.stderr)
        return INTERRUPTED
    except ModuleNotFoundError as error:
        return _fail(args, error, f"this command needs the package '{error.name}': pip install {error.name}")
    except (ValueError, OSError) as error:
        return _fail(args, error, str(error))
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        advice = "run with --debug for the traceback, and report it"
        return _fail(args, error, f"internal error: {what}; {advice}", INTERNAL)
    return 0


def _fail(args: argparse.Namespace, error: Exception, message: str, code: int = BAD_INPUT) -> int:
    if args.debug:
        raise error
    print("\n".join(f"scoreda: {line}" for line in message.splitlines()), file=sys.stderr)
    return code


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse, taking every `key.sub=value` as an override wherever it stands."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    configs = [args.config] if isinstance(args.config, str) else list(args.config or [])
    free = [*configs, *rest]
    args.overrides = [word for word in free if "=" in word and not word.startswith("-") and not Path(word).is_file()]
    args.config = [word for word in configs if word not in args.overrides]
    unknown = [word for word in rest if word not in args.overrides or not args.takes_overrides]
    if unknown:
        parser.error(f"unrecognised arguments: {' '.join(unknown)}; see `scoreda {args.name} --help`")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scoreda", description="Data assimilation with learned diffusion priors, beside tuned Kalman filters."
    )
    parser.add_argument("--version", action="version", version=f"scoreda {__version__}")
    parser.set_defaults(config=None, overrides=[], quiet=False, debug=False)
    commands = parser.add_subparsers(title="commands", dest="name", metavar="COMMAND", required=True)

    demo = _add(commands, "demo", _demo, "the main job with the shipped prior, in about two minutes", overrides=True)
    _add_out(demo, default="runs/demo")
    demo.add_argument("--prior", metavar="PATH", help="another prior: a folder that `scoreda train` made")
    _add_device(demo)

    simulate = _add(commands, "simulate", _simulate, "truth and observations, or a training archive", overrides=True)
    _add_config(simulate)
    _add_out(simulate)
    _add_overwrite(simulate)

    train = _add(commands, "train", _train, "learn a prior", overrides=True)
    _add_config(train)
    _add_out(train)
    _add_resume(train)
    _add_memory(train, "an archive that takes more stays on disk")
    _add_device(train)

    sample = _add(commands, "sample", _sample, "draw states from a prior")
    sample.add_argument("prior", metavar="PRIOR", help="name of a shipped prior, or a folder")
    sample.add_argument("--number", type=int, required=True, help="how many states")
    sample.add_argument(
        "--size", type=int, nargs="+", default=[40], metavar="N", help="points along each axis of space (default: 40)"
    )
    sample.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    _add_out(sample, what="F.nc")
    _add_memory(sample, "states are drawn in batches, the network evaluated in tiles")
    sample.add_argument("--dry-run", action="store_true", help="show what it will take, and draw nothing")
    _add_device(sample)

    assimilate = _add(commands, "assimilate", _assimilate, "run the methods of a configuration", overrides=True)
    _add_config(assimilate)
    _add_out(assimilate)
    _add_resume(assimilate)
    _add_memory(assimilate, "a run that takes more is streamed to its file, the network evaluated in tiles")
    _add_device(assimilate)

    forecast = _add(commands, "forecast", _forecast, "ensemble forecasts from analyses")
    forecast.add_argument("analysis", metavar="ANALYSIS.nc", help="a file that `assimilate` made")
    forecast.add_argument(
        "--lead", type=float, nargs="+", required=True, metavar="T", help="lead times, model time units"
    )
    forecast.add_argument(
        "--every", type=int, default=1, metavar="N", help="start from every N-th analysis (default: 1)"
    )
    _add_out(forecast, what="F.nc")

    verify = _add(commands, "verify", _verify, "scores of a run")
    verify.add_argument("run", metavar="RUN", help="a folder of a run, or one analysis.nc")
    verify.add_argument(
        "--burn-in", type=int, default=0, metavar="K", help="first cycles of a file left out (default: 0)"
    )

    _add_bench(commands)

    report = _add(commands, "report", _report, "write report.html and summary.csv of a run again")
    report.add_argument("run", metavar="DIR", help="a folder of a run, or of several runs")
    report.add_argument("--tables", action="store_true", help="no figures of cases: a small page")

    _add(commands, "info", _info, "versions, devices, shipped priors and configurations")
    return parser


def _add(
    commands: Any, name: str, command: Callable[[argparse.Namespace], None], text: str, overrides: bool = False
) -> argparse.ArgumentParser:
    note = "Settings of the configuration can be overridden: key.sub=value." if overrides else None
    parser = commands.add_parser(name, help=text, description=text.capitalize() + ".", epilog=note)
    parser.set_defaults(command=command, takes_overrides=overrides)
    parser.add_argument("--quiet", action="store_true", help="no progress, only results and errors")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    if overrides:
        parser.add_argument(
            "--dry-run", action="store_true", help="show the resolved configuration and what it will take"
        )
    return parser


def _add_bench(commands: Any) -> None:
    bench = _add(commands, "bench", _bench, "every case x method x seed of some configurations", overrides=True)
    bench.description = (
        "Every case x method x seed of some configurations. Methods with values under `tune:` are tuned first, on "
        "twins of their own, and reported with the best settings (tuning.csv). What has run is skipped: after an "
        "interruption, give the same command again. `scoreda report DIR` shows what is there at any time."
    )
    bench.add_argument("config", metavar="CONFIG", nargs="+", help="configuration files, or names of shipped ones")
    _add_out(bench, default="runs/bench")
    bench.add_argument("--list", action="store_true", help="list the cells and stop")
    bench.add_argument("--untuned", action="store_true", help="run the settings as written, and tune nothing")
    where = bench.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=0, metavar="N", help="processes on this machine (default: none)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler, such as tcp://host:8786")
    _add_overwrite(bench)
    _add_device(bench)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a configuration file, or the name of a shipped one")


def _add_out(parser: argparse.ArgumentParser, default: str | None = None, what: str = "DIR") -> None:
    note = f"where the results go (default: {default})" if default else "where the results go"
    parser.add_argument("--out", metavar=what, default=default, required=default is None, help=note)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")


def _add_memory(parser: argparse.ArgumentParser, note: str) -> None:
    parser.add_argument("--memory", metavar="SIZE", help=f"most memory to take, such as 8GB: {note}")


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the output folder")


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resume", action="store_true", help="continue what the output folder holds, if anything")
    _add_overwrite(parser)


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

        make_twins(pinned(config)[0], folder, args.overwrite)
        print("\n".join(str(folder.twin(case)) for case in config.cases))


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
    if not (args.resume or args.overwrite) and any(folder.analysis(*cell).is_file() for cell in config.cells()):
        raise ScoredaError(f"{args.out} holds analyses. Pass --resume to continue, or --overwrite to start again.")
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
    from scoreda.experiments.cells import one_thread

    one_thread()
    from scoreda.experiments.config import load_experiments
    from scoreda.experiments.shipped import find_config

    configs = load_experiments([find_config(path) for path in args.config], args.overrides)
    configs = [config.untuned() for config in configs] if args.untuned else configs
    if args.list:
        cells = [(config.name, *cell) for config in configs for cell in config.cells()]
        print("\n".join(f"{name} {case} {method} seed{seed}" for name, case, method, seed in cells))
    elif not any([_dry(args, config) for config in configs]):
        _run_bench(args, configs)


def _run_bench(args: argparse.Namespace, configs: Sequence[Any]) -> None:
    """Run configurations together, each into a folder of its own if there are several."""
    from scoreda.experiments.cluster import executor
    from scoreda.experiments.report import write_report
    from scoreda.experiments.run import run_experiments

    outs = [Path(args.out) / config.name if len(configs) > 1 else Path(args.out) for config in configs]
    jobs = list(zip(configs, outs, strict=True))
    with executor(args.workers, args.scheduler) as execute:
        tables = run_experiments(jobs, _device(args), args.overwrite, execute)
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


class _NoTerminal:
    """A stream that says it is no terminal, which is what keeps progress bars away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return False


@contextmanager
def _output(quiet: bool) -> Iterator[None]:
    """Show the package's messages on stderr while a command runs; with `quiet` only warnings, and no progress bars."""
    logger, handler, stderr = logging.getLogger("scoreda"), logging.StreamHandler(sys.stderr), sys.stderr
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    sys.stderr = _NoTerminal(stderr) if quiet else stderr
    try:
        yield
    finally:
        sys.stderr = stderr
        logger.removeHandler(handler)
