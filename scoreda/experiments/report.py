"""The report of a run: one HTML file that needs nothing else, made from the run's folder alone."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoreda import __version__
from scoreda.errors import ScoredaError
from scoreda.experiments.folder import RunFolder, write_text
from scoreda.experiments.prior_samples import PRIOR_SAMPLES
from scoreda.experiments.report_figures import hovmoeller_figure, prior_figure, rank_figure, series_figure
from scoreda.experiments.report_html import Html, element, figure, page
from scoreda.experiments.report_table import Result, best, results, score_table
from scoreda.experiments.report_words import describe_case, describe_outcome
from scoreda.experiments.scores import read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_report"]

HOW_TO_READ = (
    "RMSE is the root-mean-square error of the ensemble mean over space, averaged over the scored cycles; ± is the "
    "standard error over seeds. Spread should match the RMSE. CRPS (fair) is lower for better ensembles. The central "
    "90 % of a calibrated ensemble cover the truth 90 % of the time. Chi-square is the squared innovation over its "
    "predicted variance: 1 when consistent. Expected is the analysis RMSE that others report: as expected means within "
    "5 %, or within two standard errors where those are no more than 10 %; better means lower. Locked on: in how many "
    "runs the RMSE fell to the tracking level and stayed for 20 cycles, and from which cycle on average. Cost counts "
    "model steps and network calls of one run, those of each member."
)


def write_report(folder: Path | str, prior_figures: Sequence[tuple[str, "Figure"]] = ()) -> Path:
    """Write `report.html` into the folder of a run, finished or not.

    Args:
        folder: Holds `config.yaml`, `scores.csv`, the twins and analyses, and perhaps `prior_samples.nc` with `prior`
            and `truth`, both `(samples, space)`.
        prior_figures: Further figures about the prior, each with its caption.

    Returns:
        The path of the report.

    Raises:
        ScoredaError: if the folder holds no run, or a file of it cannot be read.
    """
    files = RunFolder(Path(folder))
    config, rows = files.earlier() or {}, read_rows(files.scores)
    if not config.get("cases") and not rows:
        raise ScoredaError(
            f"'{folder}' holds no run: neither cases in config.yaml nor scores.csv. Give the --out of a run."
        )
    cases = [_Case.read(files, config, name, rows) for name in _case_names(config, rows)]
    title = f"scoreda report: {config.get('name', files.path.resolve().name)}"
    sections = [_section(files, case) for case in cases]
    prior = _prior_section(files.path / PRIOR_SAMPLES, prior_figures)
    html = page(title, element("main", _header(title, cases), *sections, *prior, _footer(files, cases)))
    path = files.path / "report.html"
    write_text(path, html)
    return path


@dataclass(frozen=True)
class _Case:
    """One case: its section of the configuration, and its results, best first."""

    name: str
    settings: Mapping[str, Any]
    results: list[Result]
    attrs: Mapping[str, Any]
    sizes: Mapping[str, int]

    @classmethod
    def read(cls, files: RunFolder, config: Mapping[str, Any], name: str, rows: Sequence[Mapping[str, str]]) -> "_Case":
        attrs, sizes = _twin(files.any_twin(name))
        settings = config.get("cases", {}).get(name, {})
        return cls(name, settings, results(row for row in rows if row["case"] == name), attrs, sizes)

    @property
    def title(self) -> str:
        return self.settings.get("title") or self.name

    def runs(self, files: RunFolder) -> Iterator[tuple[Result, Path]]:
        """Yield result and file of each method's first seed."""
        for result in self.results:
            path = files.analysis(self.name, result.method, int(result.seeds[0]))
            if path.is_file():
                yield result, path


def _case_names(config: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the cases in the order of the configuration, then any others that have scores."""
    return list(dict.fromkeys([*config.get("cases", {}), *(row["case"] for row in rows)]))


def _twin(path: Path) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    """Return attributes and sizes of a twin; empty if there is no file yet."""
    from scoreda.datasets import open_dataset

    if not path.is_file():
        return {}, {}
    with open_dataset(path, needs=("obs",)) as twin:
        return dict(twin.attrs), {str(name): size for name, size in twin.sizes.items()}


def _header(title: str, cases: Sequence[_Case]) -> Html:
    links = [element("li", element("a", case.title, href=f"#{case.name}"), _headline(case.results)) for case in cases]
    return element(
        "header",
        element("h1", title),
        element("ul", *links),
        element("details", element("summary", "How to read the tables"), element("p", HOW_TO_READ)),
    )


def _headline(found: Sequence[Result]) -> str:
    winner = best(found)
    return f": {winner.method} is best, RMSE {winner.rmse}" if winner else ": no result yet"


def _section(files: RunFolder, case: _Case) -> Html:
    """Return the section of a case."""
    about = describe_case(case.attrs, case.sizes, case.settings) if case.sizes else ""
    parts = [element("h2", case.title), element("p", about)]
    if case.results:
        parts += [element("p", describe_outcome(case.results), class_="outcome"), score_table(case.results)]
        parts += _figures(files, case)
    else:
        parts.append(element("p", "No method has finished on this case yet."))
    return element("section", *parts, id=case.name)


def _figures(files: RunFolder, case: _Case) -> list[Html]:
    """Return the figures of a case: the best method with the learned prior in detail, all methods in comparison."""
    from scoreda.datasets import open_dataset
    from scoreda.verification import rank_counts, verify

    burn_in = case.settings.get("burn_in", 0)
    scores, counts, shown = {}, {}, None
    for result, path in case.runs(files):
        with open_dataset(path, needs=("analysis",)) as run:
            if "truth" not in run:
                continue
            scores[result.method] = verify(run)
            counts[result.method] = rank_counts(run, burn_in)
        if shown is None or (result.uses_network and not shown[0].uses_network):
            shown = result, path
    if shown is None:
        return []
    return [_detail(*shown, case), figure(*series_figure(scores, burn_in)), figure(*rank_figure(counts))]


def _detail(result: Result, path: Path, case: _Case) -> Html:
    from scoreda.datasets import open_dataset

    cold = case.settings.get("initial", {}).get("kind") == "climatology"
    with open_dataset(path, needs=("analysis", "truth")) as run:
        return figure(*hovmoeller_figure(run, f"{result.method}, seed {result.seeds[0]},", from_start=cold))


def _prior_section(samples: Path, figures: Sequence[tuple[str, "Figure"]]) -> list[Html]:
    """Return the section about the learned prior; none if nothing is known of it."""
    from scoreda.datasets import open_dataset

    shown = [figure(fig, caption) for caption, fig in figures]
    if samples.is_file():
        with open_dataset(samples, needs=("prior", "truth")) as ds:
            shown.insert(0, figure(*prior_figure(ds)))
    return [element("section", element("h2", "The learned prior"), *shown, id="prior")] if shown else []


def _footer(files: RunFolder, cases: Sequence[_Case]) -> Html:
    """Return where the numbers come from: command, versions, seeds, configuration."""
    attrs = next((case.attrs for case in cases if case.attrs), {})
    seeds = sorted({int(seed) for case in cases for result in case.results for seed in result.seeds})
    versions = json.loads(attrs.get("versions", "{}"))
    facts = {
        "Written by": f"scoreda {__version__}",
        "Run by": attrs.get("source", ""),
        "Command": attrs.get("history", ""),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "Seed of truth and observations": attrs.get("seed", ""),
        "Seeds of the methods": ", ".join(map(str, seeds)),
    }
    terms = [Html(element("dt", name) + element("dd", value)) for name, value in facts.items() if value != ""]
    config = files.config.read_text(encoding="utf-8") if files.config.is_file() else ""
    source = [element("details", element("summary", "config.yaml"), element("pre", config))] if config else []
    return element("footer", element("h2", "Provenance"), element("dl", *terms), *source)
