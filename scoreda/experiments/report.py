"""The report of a run, or of a folder of runs: one HTML file that needs nothing else, made from the files alone.

`summary.csv` beside it holds the same results for whoever computes with them, and `tuning.csv` what was tuned.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoreda.errors import ScoredaError
from scoreda.experiments.folder import RunFolder, write_text
from scoreda.experiments.prior_samples import PRIOR_SAMPLES
from scoreda.experiments.report_case import ReportCase, cases_of
from scoreda.experiments.report_figures import prior_figure
from scoreda.experiments.report_html import Html, element, figure, page
from scoreda.experiments.scores import TRIAL_COLUMNS, read_rows, write_rows
from scoreda.experiments.summary import commits, write_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_report"]

HOW_TO_READ = (
    "RMSE is the root-mean-square error of the ensemble mean over space, averaged over the scored cycles and then "
    "over seeds; it is not the root of a mean over cycles, which is larger. ± is the standard error over seeds; of a "
    "single run it is that of its time mean, successive cycles not taken for independent. Runs that diverged are left "
    "out of the means and counted as failed; those that were not locked in any scored cycle are counted as failed too.",
    "Expected is what others report. Meets: within 5 % of it, or two standard errors if those are more, but never "
    "more than 10 %; better means lower; falls short means higher, or that a run diverged, or never locked where "
    "that is expected. The floor of a case is an estimate of what no method gets below; over it stands the RMSE "
    "divided by it. The best baseline is the best method without the learned prior; differences to it are paired by "
    "seed, on the same truth and observations, and negative where the method is better. As it is chosen by these "
    "very scores, it looks a little better than it is.",
    "A filter is locked while the RMSE stays below twice the tracking level of the case for 20 cycles or more. RMSE "
    "while locked, the share of time in which it is lost, and the cycles it takes to lock on again are of all runs. "
    "Cost counts model steps and network calls of one run, those of each member.",
    "Of a calibrated ensemble the spread matches the RMSE (their ratio is corrected by (N + 1) / N and should be 1), "
    "the central 50 and 90 % cover the truth as often, and ranks of the truth are flat: their chi-square per degree "
    "of freedom is 1 for independent ranks, and larger for those of a run, which are not. CRPS, log score (of the "
    "Gaussian with the moments of the ensemble, in nats) and energy score are fair, and lower is better. Chi-square "
    "is the squared innovation over its predicted variance, diagnosed R the error variance after Desroziers over the "
    "assumed one: 1 when consistent; neither is given for Student-t errors, whose squares hardly converge.",
)


def write_report(folder: Path | str, prior_figures: Sequence[tuple[str, "Figure"]] = (), figures: bool = True) -> Path:
    """Write `report.html` and `summary.csv` into the folder of a run, finished or not, or into one of such folders.

    There `tuning.csv` is that of all runs.

    Args:
        folder: Holds `config.yaml`, `scores.csv`, the twins and what is kept of each cell, and perhaps
            `prior_samples.nc` with `prior` and `truth`, both `(samples, space)`; or folders that do, which then share
            one page.
        prior_figures: Further figures about the prior, each with its caption.
        figures: Whether cases are drawn too, or the page is made of tables and small.

    Returns:
        The path of the report.

    Raises:
        ScoredaError: if there is no run, or a file of it cannot be read.
    """
    path = Path(folder)
    runs = _runs(path)
    cases = {files: cases_of(files, read_rows(files.scores)) for files in runs}
    name = (runs[0].earlier() or {}).get("name") if runs[0].path == path else None
    title = f"scoreda report: {name or path.resolve().name}"
    together = [case for own in cases.values() for case in own]
    body = [_header(title, together), *(case.section(figures) for case in together)]
    samples = next((found for files in runs if (found := files.path / PRIOR_SAMPLES).is_file()), None)
    body += _prior_section(samples, prior_figures)
    footers = [_footer(files, own, named=len(runs) > 1) for files, own in cases.items()]
    foot = element("footer", element("h2", "Provenance"), *footers)
    report = path / "report.html"
    write_text(report, page(title, element("main", *body, foot)))
    write_summary(path / "summary.csv", together)
    trials = [row for files in runs for row in read_rows(files.tuning)]
    if trials and runs[0].path != path:
        write_rows(path / "tuning.csv", TRIAL_COLUMNS, trials)
    return report


def _runs(path: Path) -> list[RunFolder]:
    """Return the run in a folder, or the runs in the folders in it."""
    candidates = [path, *sorted(part for part in path.glob("*") if part.is_dir())]
    found = [files for files in map(RunFolder, candidates) if _holds_run(files)]
    if not found:
        raise ScoredaError(
            f"'{path}' holds no run: neither cases in config.yaml nor scores.csv, and no folder in it does. "
            "Give the --out of a run."
        )
    return found[:1] if found[0].path == path else found


def _holds_run(files: RunFolder) -> bool:
    return bool((files.earlier() or {}).get("cases") or read_rows(files.scores))


def _header(title: str, cases: Sequence[ReportCase]) -> Html:
    links = [element("li", element("a", case.title, href=f"#{case.anchor}"), case.headline()) for case in cases]
    return element(
        "header",
        element("h1", title),
        element("ul", *links),
        element("details", element("summary", "How to read the tables"), *(element("p", text) for text in HOW_TO_READ)),
    )


def _prior_section(samples: Path | None, figures: Sequence[tuple[str, "Figure"]]) -> list[Html]:
    """Return the section about the learned prior; none if nothing is known of it."""
    from scoreda.datasets import open_dataset

    shown = [figure(fig, caption) for caption, fig in figures]
    if samples is not None:
        with open_dataset(samples, needs=("prior", "truth")) as ds:
            shown.insert(0, figure(*prior_figure(ds)))
    return [element("section", element("h2", "The learned prior"), *shown, id="prior")] if shown else []


def _footer(files: RunFolder, cases: Sequence[ReportCase], named: bool) -> Html:
    """Return where the numbers of a run come from: command, versions, commits, seeds, configuration."""
    from scoreda.datasets.provenance import source

    attrs = next((case.attrs for case in cases if case.attrs), {})
    seeds = sorted({int(seed) for case in cases for result in case.results for seed in result.seeds})
    versions = json.loads(attrs.get("versions", "{}"))
    facts = {
        "Written by": source(),
        "Run by": attrs.get("source", ""),
        "Commits of the runs": ", ".join(sorted({made for case in cases for made in commits(case)})),
        "Command": attrs.get("history", ""),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "Seed of truth and observations": _twin_seed(files, attrs),
        "Seeds of the methods": ", ".join(map(str, seeds)),
    }
    terms = [Html(element("dt", name) + element("dd", value)) for name, value in facts.items() if value != ""]
    config = files.config.read_text(encoding="utf-8") if files.config.is_file() else ""
    settings = [element("details", element("summary", "config.yaml"), element("pre", config))] if config else []
    name = [element("h3", files.path.name)] if named else []
    return element("div", *name, element("dl", *terms), *settings)


def _twin_seed(files: RunFolder, attrs: Mapping[str, Any]) -> object:
    """Return the seed of the twins, which makes one with each seed of the methods if those have twins of their own."""
    config = files.earlier() or {}
    own = ", one twin for each seed of the methods" if config.get("twin_per_seed") else ""
    return f"{config['twin_seed']}{own}" if "twin_seed" in config else attrs.get("seed", "")
