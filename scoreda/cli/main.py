"""What holds for every command: exit codes, how errors are told, and where messages go."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from scoreda.allocator import leave_freed_memory
from scoreda.cli.commands import COMMANDS
from scoreda.cli.parser import parse

__all__ = ["main"]

INTERNAL = 1
BAD_INPUT = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a mistake of ours, 2 for bad input, 130 when interrupted."""
    args = parse(argv, COMMANDS)
    # A cycle is many small decompositions, which BLAS threads slow down, several times over on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if getattr(args, "memory", None) is not None:
        leave_freed_memory()
    try:
        with _output(args.quiet):
            args.command(args)
            sys.stdout.flush()
    except BrokenPipeError:  # of `| head`, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
