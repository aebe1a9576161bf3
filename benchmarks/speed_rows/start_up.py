"""How long it takes until something can be done."""

import resource
import subprocess
import sys
from collections.abc import Iterator

from speed_rows.peers import Peers
from speed_rows.table import Row, Timer

ALLOWED = 0.4  # seconds
WORKS = {"import scoreda": ("-c", "import scoreda"), "scoreda --help": ("-m", "scoreda", "--help")}


def start_up(peers: Peers) -> Iterator[Row]:
    nothing = of_process("-c", "pass")
    for work, arguments in WORKS.items():
        timer = of_process(*arguments)
        ratios = tuple((timer() - nothing()) / ALLOWED for _ in range(9))
        yield Row(work, f"{ALLOWED} s above `python -c pass`", 1.0, False, ratios)


def of_process(*arguments: str) -> Timer:
    """Return a timer of the processor seconds of a Python process."""

    def children() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def seconds() -> float:
        before = children()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        return children() - before

    seconds()
    return seconds


GROUPS = (start_up,)
