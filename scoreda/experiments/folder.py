"""The folder of a run: what lies where, and whose it is."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scoreda.errors import ScoredaError
from scoreda.experiments.yaml_source import dump

__all__ = ["RunFolder", "write_text"]

# Everything a run may put into its folder besides the folders of its cases.
FILES = (
    "config.yaml", "scores.csv", "timings.csv", "report.html", "prior_samples.nc",
    "archive.nc", "last.pt", "metrics.jsonl", "metrics.csv", "loss.png", "previews.npz",
    "weights.safetensors", "card.md",
)  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """Paths inside the folder of a run, and the claim on it."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def scores(self) -> Path:
        """One row per case, method and seed."""
        return self.path / "scores.csv"

    @property
    def timings(self) -> Path:
        """Wall-clock times, which differ from run to run."""
        return self.path / "timings.csv"

    def twin(self, case: str) -> Path:
        """Return where the truth and the observations of a case are."""
        return self.path / case / "twin.nc"

    def analysis(self, case: str, method: str, seed: int) -> Path:
        """Return where the analysis of one cell is."""
        return self.path / case / method / f"seed{seed}" / "analysis.nc"

    def claim(self, settings: dict[str, Any], overwrite: bool = False) -> None:
        """Write `settings` as the folder's configuration; a run of the same configuration stays, to be continued.

        Args:
            settings: The resolved configuration.
            overwrite: Whether the run that is there, of whatever configuration, is removed.

        Raises:
            ScoredaError: if the folder holds a run of another configuration, or cannot be written to.
        """
        earlier = self.earlier()
        if earlier is not None and overwrite:
            self.clear()
        elif earlier == settings:
            return
        elif earlier is not None:
            raise ScoredaError(
                f"{self.path} holds a run of another configuration: {_difference(earlier, settings)} differs. "
                "Choose another --out, or pass --overwrite to replace that run."
            )
        write_text(self.config, dump(settings))

    def earlier(self) -> dict[str, Any] | None:
        """Return the configuration of the run that is here, or None."""
        if not self.config.is_file():
            return None
        found = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}

    def clear(self) -> None:
        """Remove the files of the run that is here, and nothing else."""
        for case in (self.earlier() or {}).get("cases", {}):
            if Path(case).name == case and self.twin(case).is_file():
                shutil.rmtree(self.path / case)
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step; ScoredaError if the folder cannot be written to."""
    from scoreda.datasets.layout import replacing

    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _difference(a: Any, b: Any, key: str = "") -> str:
    """Return the first key at which two configurations differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in [*a, *b]:
            if a.get(name) != b.get(name):
                return _difference(a.get(name), b.get(name), f"{key}.{name}".strip("."))
    return f"`{key}`"
