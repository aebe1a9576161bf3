"""Configurations that come with the package."""

from importlib import resources
from pathlib import Path

from scoreda.errors import ScoredaError, suggest

__all__ = ["find_config", "shipped_configs"]


def shipped_configs() -> dict[str, Path]:
    """Return name and path of every configuration in the package, those of the benchmark included."""
    folder = Path(str(resources.files("scoreda") / "configs"))
    return {path.stem: path for path in sorted(folder.rglob("*.yaml"))}


def find_config(name: str) -> Path:
    """Return the configuration file `name`, or the shipped one of that name.

    Raises:
        ScoredaError: if there is neither.
    """
    shipped = shipped_configs()
    if Path(name).is_file():
        return Path(name)
    if name in shipped:
        return shipped[name]
    raise ScoredaError(f"there is no file '{name}', nor a shipped configuration; {suggest(name, shipped)}")
