"""Tables of the tutorials: a CSV file for whoever computes with them, Markdown for whoever reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scoreda.experiments.scores import write_rows

__all__ = ["markdown", "report"]


def markdown(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Return a Markdown table; `columns` are headings and the format of the cells below, such as `"{rmse:.3f}"`."""
    body = [[cell.format(**row) for cell in columns.values()] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(columns), ["---"] * len(columns), *body])


def report(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Write all that rows hold to the CSV file `path`, and print `columns` of it."""
    write_rows(path, list(rows[0]), map(dict, rows))
    print(markdown(rows, columns), end="\n\n", flush=True)
