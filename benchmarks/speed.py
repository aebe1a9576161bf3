"""How fast scoreda is beside its peers, a C kernel and itself: one table of ratios.

    python benchmarks/speed.py                                        # writes results/speed.csv and prints it
    python benchmarks/speed.py --dapper-python PYTHON --peers FOLDER  # with the rows against other packages
    python benchmarks/speed.py --only letkf                           # the groups whose function is named so

PYTHON is the interpreter of an environment that has DAPPER. FOLDER holds what the other rows are against:

    pip install --no-deps --target FOLDER azula einops zuko
    FOLDER/sda           the folder of that name in https://github.com/francois-rozet/sda
    FOLDER/ScoreFilter   the folder of that name in https://github.com/zezhongzhang/EnSF

Both sides of a ratio run in turn, and the ratio is the median over the turns, with its quartiles. Processor time on one
thread is measured, so that other work on the machine counts little, except where threads are compared. A group of rows
is a function in `speed_rows`: it takes the peers and yields `Row`s. It runs in fresh processes, since ratios depend on
what a process did before, and on where its arrays happen to lie. What was tried to get here is in NOTES.md.
"""

import argparse
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from result_tables import read_table, write_measured
from speed_rows import diffusion, ensemble_score, filters, models, start_up, training
from speed_rows.peers import Peers
from speed_rows.table import Row, one_thread

PROCESSES = 3
RESULTS = Path(__file__).parent / "results" / "speed.csv"
KEY = ("work", "against")
LINE = "{work:50} {against:28} {ratio:>12} {quartiles:>13}  {target:7} {met}"
ROOMS = (models, filters, diffusion, training, ensemble_score, start_up)
Group = Callable[[Peers], Iterator[Row]]
GROUPS: list[Group] = [group for room in ROOMS for group in room.GROUPS]


def report(peers: Peers, only: str) -> None:
    """Print the rows of every group when they are there, and write them; those of other groups stay."""
    chosen = [group for group in GROUPS if only in group.__name__]
    fresh = multiprocessing.get_context("spawn")
    rows = []
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as processes:
        for group in chosen:
            runs = processes.map(measured, [group] * PROCESSES, [peers] * PROCESSES)
            for row in map(pooled, zip(*runs, strict=True)):
                rows.append(row.cells())
                print(LINE.format(**rows[-1]), flush=True)
    known = {named(row): row for row in read_table(RESULTS)} if only else {}
    write_measured(RESULTS, list((known | {named(row): row for row in rows}).values()), key=KEY)


def named(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a row is known by."""
    return tuple(row[name] for name in KEY)


def measured(group: Group, peers: Peers) -> list[Row]:
    """Return the rows of a group."""
    one_thread()
    return list(group(peers))


def pooled(rows: Sequence[Row]) -> Row:
    """Return the same row of several processes with the ratios of all."""
    return replace(rows[0], ratios=tuple(ratio for row in rows for ratio in row.ratios))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dapper-python", help="interpreter of an environment with DAPPER")
    parser.add_argument("--peers", type=Path, help="folder of the other packages; see above")
    parser.add_argument("--only", default="", help="groups of rows whose name contains this")
    arguments = parser.parse_args()
    report(Peers(arguments.dapper_python, arguments.peers), arguments.only)
