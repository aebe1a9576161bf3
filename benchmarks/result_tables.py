"""How the scripts keep their tables: CSV files under `results`."""

import csv
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["NOT_MEASURED", "read_table", "update_table", "write_measured", "write_table"]

NOT_MEASURED = "not measured"

Rows = Sequence[Mapping[str, Any]]


def write_table(path: Path, rows: Rows, columns: Iterable[str] = (), origin: str = "") -> None:
    """Write rows below their `columns`, the keys of the first if not given, and below what `origin` says of them."""
    if not rows:
        sys.exit(f"there are no rows for {path.name}: nothing was chosen. It is left as it is.")
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", newline="") as file:
        file.write(origin)
        table = csv.DictWriter(file, list(columns) or list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    os.replace(unfinished, path)


def write_measured(path: Path, rows: Rows, key: Sequence[str]) -> None:
    """Write rows, unless what could not be measured here would replace what was measured elsewhere."""
    known = {tuple(row[name] for name in key): row for row in read_table(path)}
    lost = [
        " ".join(row[name] for name in key)
        for row in rows
        for column, value in known.get(tuple(row[name] for name in key), {}).items()
        if row.get(column) == NOT_MEASURED != value
    ]
    if lost:
        print(f"{path.name} is left as it is: what it has of '{lost[0]}' could not be measured here.", file=sys.stderr)
    else:
        write_table(path, rows)


def update_table(path: Path, rows: Rows, key: Callable[[Mapping[str, Any]], Any], columns: Iterable[str] = ()) -> None:
    """Write rows in the place of those of the same `key`, and behind those of other keys."""
    made = {key(row): row for row in [*read_table(path), *rows]}
    write_table(path, list(made.values()) if rows else [], columns or [name for row in rows[:1] for name in row])


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows that are there, none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
