"""The folder of a run: what lies where, and whose it is."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from scoreda.errors import ScoredaError
from scoreda.experiments.yaml_source import dump

__all__ = ["DESCRIPTIVE", "RunFolder", "write_text"]

DESCRIPTIVE = ("title", "expected", "floor")  # keys of a case that no result depends on

# Everything a run may put into its folder besides the folders of its cases.
FILES = (
    "config.yaml", "scores.csv", "timings.csv", "tuning.csv", "summary.csv", "report.html", "prior_samples.nc",
    "archive.nc", "last.pt", "metrics.jsonl", "metrics.csv", "loss.png", "previews.npz",
    "weights.safetensors", "card.md",
)  # fmt: skip
DAMAGED = "Restore the file, or choose another folder."


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

    @property
    def tuning(self) -> Path:
        """Every trial of the settings that were tuned."""
        return self.path / "tuning.csv"

    @property
    def trials(self) -> "RunFolder":
        """The run in which settings are tried."""
        return RunFolder(self.path / "tuning")

    @property
    def finals(self) -> "RunFolder":
        """The run in which the best of them are compared."""
        return RunFolder(self.path / "finals")

    def twin(self, case: str, seed: int | None = None) -> Path:
        """Return where the truth and the observations of a case are, or those of one seed that has its own."""
        return self.path / case / ("twin.nc" if seed is None else f"twin.seed{seed}.nc")

    def any_twin(self, case: str) -> Path:
        """Return where a twin of a case is; where each seed has its own, that of one of them."""
        return next(iter(sorted((self.path / case).glob("twin*.nc"))), self.twin(case))

    def result(self, case: str, method: str, seed: int) -> Path:
        """Return where the scores of one cell are; the cell is finished when they are there."""
        return self.analysis(case, method, seed).with_name("scores.json")

    def analysis(self, case: str, method: str, seed: int) -> Path:
        """Return where the analysis of one cell is."""
        return self.path / case / method / f"seed{seed}" / "analysis.nc"

    def begun(self, case: str, method: str, seed: int) -> bool:
        """Return whether there is anything of one cell."""
        return self.result(case, method, seed).is_file() or self.analysis(case, method, seed).is_file()

    def claim(
        self,
        settings: dict[str, Any],
        overwrite: bool = False,
        completed: Callable[[dict[str, Any]], dict[str, Any]] = lambda earlier: earlier,
    ) -> None:
        """Write `settings` as the folder's configuration; a run of the same configuration stays, to be continued.

        A run of experiments may be added to: further cases, methods, seeds and expected scores change nothing else.
        So may a method of which no cell has finished be changed, or taken out.

        Args:
            settings: The resolved configuration.
            overwrite: Whether the run that is there, of whatever configuration, is removed.
            completed: Fills in what an earlier configuration did not know.

        Raises:
            ScoredaError: if the folder holds a run of another configuration, or cannot be written to.
        """
        self.check(settings, overwrite, completed)
        earlier = self.earlier()
        if earlier is not None and overwrite:
            self.clear()
        elif earlier is not None and completed(earlier) == settings:
            return
        write_text(self.config, dump(settings))

    def check(
        self,
        settings: dict[str, Any],
        overwrite: bool = False,
        completed: Callable[[dict[str, Any]], dict[str, Any]] = lambda earlier: earlier,
    ) -> None:
        """Refuse what `claim` would refuse, and write nothing; arguments and errors are the same."""
        earlier = self.earlier()
        if earlier is None or overwrite or (earlier := completed(earlier)) == settings:
            return
        decided = self._finished(earlier)
        if (before := _common(earlier, decided)) != (now := _common(settings, decided)):
            raise ScoredaError(
                f"{self.path} holds a run of another configuration: {_difference(before, now)} differs. "
                "Choose another --out, or pass --overwrite to replace that run."
            )

    def _finished(self, earlier: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration that is here without the methods of which no cell has finished."""
        cases = {}
        for name, case in earlier.get("cases", {}).items():
            methods = case.get("methods", {})
            cases[name] = case | {"methods": {key: methods[key] for key in methods if self._any_finished(name, key)}}
        return earlier | {"cases": cases}

    def _any_finished(self, case: str, method: str) -> bool:
        """Return whether any cell of a method has finished, or any trial of it."""
        own, tried = (self.path / case).glob(f"{method}/seed*/*"), self.path.glob(f"*/{case}/{method}.trial*/seed*/*")
        return any(path.name in ("scores.json", "analysis.nc") for path in chain(own, tried))

    def earlier(self) -> dict[str, Any] | None:
        """Return the configuration of the run that is here, or None.

        Raises:
            ScoredaError: if it cannot be read, or does not hold keys and values.
        """
        if not self.config.is_file():
            return None
        try:
            found = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            why = getattr(error, "problem", None) or str(error)
            raise ScoredaError(f"{self.config}: not valid YAML ({why}). {DAMAGED}") from error
        for key, part in _sections(found):
            if not isinstance(part, dict):
                raise ScoredaError(f"{self.config}: {key} must hold keys and values, got {part!r:.40}. {DAMAGED}")
        return found

    def clear(self) -> None:
        """Remove the files of the run that is here, and nothing else."""
        for part in (self.trials, self.finals):
            if part.earlier():
                part.clear()
                if not any(part.path.iterdir()):
                    part.path.rmdir()
        for case in (self.earlier() or {}).get("cases", {}):
            if Path(case).name == case and any((self.path / case).glob("twin*.nc")):
                shutil.rmtree(self.path / case)
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step; ScoredaError if the folder cannot be written to."""
    from scoreda.datasets.layout import replacing

    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _sections(found: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a configuration that must be mappings, outer ones first."""
    yield "the file", found
    if "cases" in found:
        yield "`cases`", found["cases"]
        for name, case in found["cases"].items():
            yield f"`cases.{name}`", case
            yield f"`cases.{name}.methods`", case.get("methods", {})


def _common(settings: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Return what of `settings` decides about the results that `earlier` asks for."""
    cases = {
        name: {key: value for key, value in case.items() if key not in DESCRIPTIVE}
        | {"methods": _items(case.get("methods", {}), earlier["cases"][name].get("methods", {}))}
        for name, case in _items(settings.get("cases", {}), earlier.get("cases", {})).items()
    }
    if not cases:
        return settings
    # Without a fingerprint there was no method with a prior, and the first one may come.
    of_prior = () if "prior_sha256" in earlier else ("prior", "prior_sha256")
    return {key: value for key, value in settings.items() if key not in of_prior} | {
        "cases": cases,
        "seeds": [seed for seed in settings.get("seeds", ()) if seed in earlier.get("seeds", ())],
    }


def _items(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Return the items of `a` whose keys are in `b`, in its order."""
    return {key: a[key] for key in b if key in a}


def _difference(a: Any, b: Any, key: str = "") -> str:
    """Return the first key at which two configurations differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in [*a, *b]:
            if a.get(name) != b.get(name):
                return _difference(a.get(name), b.get(name), f"{key}.{name}".strip("."))
    return f"`{key}`"
