"""How the scripts keep their tables: CSV files under `results`."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["update_table", "write_table"]

Rows = Sequence[Mapping[str, Any]]


def write_table(path: Path, rows: Rows, columns: Iterable[str] = (), origin: str = "") -> None:
    """Write rows below their `columns`, the keys of the first if not given, and below what `origin` says of them."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        file.write(origin)
        table = csv.DictWriter(file, list(columns) or list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def update_table(path: Path, rows: Rows, key: Callable[[Mapping[str, Any]], Any], columns: Iterable[str] = ()) -> None:
    """Write rows in the place of those of the same `key`, and behind those of other keys."""
    old = list(csv.DictReader(path.open())) if path.exists() else []
    made = {key(row): row for row in [*old, *rows]}
    write_table(path, list(made.values()), columns or list(rows[0]))
