"""The words of the command line: every command with its options, and overrides wherever they stand."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scoreda import __version__

__all__ = ["Command", "parse"]

Command = Callable[[argparse.Namespace], None]

RUNS_WITHIN = "a run that takes more is streamed to its file, the network evaluated in tiles"


def parse(argv: Sequence[str] | None, commands: Mapping[str, Command]) -> argparse.Namespace:
    """Parse a command line, with every `key.sub=value` for an override; `command` of the result is what to call.

    Args:
        argv: The words; default those of the process.
        commands: What each command does.

    Raises:
        SystemExit: with 2 if the words make no sense, with 0 after help or version.
    """
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    words = [*args.config, *rest]
    args.overrides = [word for word in words if args.takes_overrides and _overrides(word)]
    others = [word for word in words if word not in args.overrides]
    options, names = ([word for word in others if word.startswith("-") == is_option] for is_option in (True, False))
    args.config = names[: args.most_configs]
    if unknown := options + names[args.most_configs :]:
        parser.error(f"unrecognised arguments: {' '.join(unknown)}; see `scoreda {args.name} --help`")
    if args.most_configs and not args.config:
        parser.error(f"CONFIG is missing, there are overrides alone; see `scoreda {args.name} --help`")
    args.command = commands[args.name]
    return args


def _overrides(word: str) -> bool:
    return "=" in word and not word.startswith("-") and not Path(word).is_file()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scoreda", description="Data assimilation with learned diffusion priors, beside tuned Kalman filters."
    )
    parser.add_argument("--version", action="version", version=f"scoreda {__version__}")
    parser.set_defaults(config=[], most_configs=0, quiet=False, debug=False)
    commands = parser.add_subparsers(title="commands", dest="name", metavar="COMMAND", required=True)
    for add in (_demo, _simulate, _train, _sample, _assimilate, _forecast, _verify, _bench, _report, _info):
        add(commands)
    return parser


def _demo(commands: Any) -> None:
    demo = _add(commands, "demo", "the main job with the shipped prior, in about two minutes", overrides=True)
    _add_out(demo, default="runs/demo")
    demo.add_argument("--prior", metavar="PATH", help="another prior: a folder that `scoreda train` made")
    _add_device(demo)


def _simulate(commands: Any) -> None:
    simulate = _add(commands, "simulate", "truth and observations, or a training archive", overrides=True)
    _add_config(simulate)
    _add_out(simulate)
    _add_overwrite(simulate)


def _train(commands: Any) -> None:
    train = _add(commands, "train", "learn a prior", overrides=True)
    _add_config(train)
    _add_out(train)
    _add_resume(train)
    _add_memory(train, "an archive that takes more stays on disk")
    _add_device(train)


def _sample(commands: Any) -> None:
    sample = _add(commands, "sample", "draw states from a prior")
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


def _assimilate(commands: Any) -> None:
    assimilate = _add(commands, "assimilate", "run the methods of a configuration", overrides=True)
    _add_config(assimilate)
    _add_out(assimilate)
    _add_resume(assimilate)
    _add_memory(assimilate, RUNS_WITHIN)
    _add_device(assimilate)


def _forecast(commands: Any) -> None:
    forecast = _add(commands, "forecast", "ensemble forecasts from analyses")
    forecast.add_argument("analysis", metavar="ANALYSIS.nc", help="a file that `assimilate` made")
    forecast.add_argument(
        "--lead", type=float, nargs="+", required=True, metavar="T", help="lead times, model time units"
    )
    forecast.add_argument(
        "--every", type=int, default=1, metavar="N", help="start from every N-th analysis (default: 1)"
    )
    _add_out(forecast, what="F.nc")


def _verify(commands: Any) -> None:
    verify = _add(commands, "verify", "scores of a run")
    verify.add_argument("run", metavar="RUN", help="a folder of a run, or one analysis.nc")
    verify.add_argument(
        "--burn-in", type=int, default=0, metavar="K", help="first cycles of a file left out (default: 0)"
    )


def _bench(commands: Any) -> None:
    bench = _add(commands, "bench", "every case x method x seed of some configurations", overrides=True)
    bench.description = (
        "Every case x method x seed of some configurations. Methods with values under `tune:` are tuned first, on "
        "twins of their own, and reported with the best settings (tuning.csv). What has run is skipped: after an "
        "interruption, give the same command again. `scoreda report DIR` shows what is there at any time."
    )
    bench.add_argument("config", metavar="CONFIG", nargs="+", help="configuration files, or names of shipped ones")
    bench.set_defaults(most_configs=sys.maxsize)
    _add_out(bench, default="runs/bench")
    bench.add_argument("--list", action="store_true", help="list the cells and stop")
    tuning = bench.add_mutually_exclusive_group()
    tuning.add_argument("--untuned", action="store_true", help="run the settings as written, and tune nothing")
    tuning.add_argument(
        "--tuned", type=Path, metavar="FILE", help="run the settings that an earlier tuning chose: its tuning.csv"
    )
    where = bench.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=int, metavar="N",
        help="processes on this machine, 0 for this one alone (default: one for each processor; none without Dask, or "
        "where a prior is on a GPU)",
    )  # fmt: skip
    where.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler, such as tcp://host:8786")
    _add_overwrite(bench)
    _add_memory(bench, f"for each process; {RUNS_WITHIN}")
    _add_device(bench)


def _report(commands: Any) -> None:
    report = _add(commands, "report", "write report.html and summary.csv of a run again")
    report.add_argument("run", metavar="DIR", help="a folder of a run, or of several runs")
    report.add_argument("--tables", action="store_true", help="no figures of cases: a small page")


def _info(commands: Any) -> None:
    _add(commands, "info", "versions, devices, shipped priors and configurations")


def _add(commands: Any, name: str, text: str, overrides: bool = False) -> argparse.ArgumentParser:
    note = "Settings of the configuration can be overridden: key.sub=value." if overrides else None
    parser = commands.add_parser(name, help=text, description=text.capitalize() + ".", epilog=note)
    parser.set_defaults(takes_overrides=overrides)
    parser.add_argument("--quiet", action="store_true", help="no progress, only results and errors")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    if overrides:
        parser.add_argument(
            "--dry-run", action="store_true", help="show the resolved configuration and what it will take"
        )
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs=1, help="a configuration file, or the name of a shipped one")
    parser.set_defaults(most_configs=1)


def _add_out(parser: argparse.ArgumentParser, default: str | None = None, what: str = "DIR") -> None:
    note = f"where the results go (default: {default})" if default else "where the results go"
    parser.add_argument("--out", metavar=what, default=default, required=default is None, help=note)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")


def _add_memory(parser: argparse.ArgumentParser, note: str) -> None:
    parser.add_argument("--memory", metavar="SIZE", help=f"most memory to take, such as 8GB: {note}")


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the output folder")


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resume", action="store_true", help="continue what the output folder holds, if anything")
    _add_overwrite(parser)
