"""The log of a training: one JSON object per line, which an interruption cannot spoil, and the same as a table."""

import csv
import json
from pathlib import Path

from scoreda.datasets.layout import replacing

__all__ = ["MetricsLog"]


class MetricsLog:
    """Rows of one validation each, in `metrics.jsonl`.

    Args:
        folder: Where the file is, or will be.
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(folder) / "metrics.jsonl"

    def append(self, row: dict[str, float]) -> None:
        """Add a row."""
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, float]]:
        """Return all rows."""
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def drop_after(self, step: int) -> None:
        """Drop rows later than `step`, and a row that an interruption cut short (it has no line end)."""
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            with replacing(self.path) as partial:
                partial.write_text("".join(kept), encoding="utf-8")

    def write_csv(self) -> Path:
        """Write the same rows as `metrics.csv` beside the log, and return its path."""
        path, rows = self.path.with_suffix(".csv"), self.rows()
        with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, fieldnames=list(rows[0]) if rows else ["step"])
            writer.writeheader()
            writer.writerows(rows)
        return path
