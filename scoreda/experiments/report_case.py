"""One case of a report: what is in the folder of its run, and the section that is made of it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.experiments.folder import RunFolder
from scoreda.experiments.report_comparison import (
    acquisition_figure,
    calibration_figure,
    ranking_figure,
    summed,
    trade_off_figure,
)
from scoreda.experiments.report_figures import hovmoeller_figure, rank_figure, series_figure
from scoreda.experiments.report_html import Html, element, figure
from scoreda.experiments.report_results import Result, best, results, verdict
from scoreda.experiments.report_table import calibration_table, score_table
from scoreda.experiments.report_words import describe_case, describe_outcome

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ReportCase", "cases_of"]


def cases_of(files: RunFolder, rows: Sequence[Mapping[str, str]]) -> "list[ReportCase]":
    """Return the cases of a run in the order of its configuration, then any others that have scores."""
    settings = (files.earlier() or {}).get("cases", {})
    names = dict.fromkeys([*settings, *(row["case"] for row in rows)])
    return [
        ReportCase(
            files,
            name,
            settings.get(name, {}),
            results(row for row in rows if row["case"] == name),
            *_twin(files, name),
        )
        for name in names
    ]


@dataclass(frozen=True)
class ReportCase:
    """One case: the folder of its run, its section of the configuration, its results, best first, and its twin."""

    files: RunFolder
    name: str
    settings: Mapping[str, Any]
    results: list[Result]
    attrs: Mapping[str, Any]
    sizes: Mapping[str, int]

    @property
    def title(self) -> str:
        """What the case is called."""
        return self.settings.get("title") or self.name

    @property
    def anchor(self) -> str:
        """Where its section is on the page; folders may hold cases of one name."""
        return f"{self.files.path.name}-{self.name}"

    @property
    def floor(self) -> float:
        """The RMSE that no method is thought to get below; NaN if none is known."""
        return float((self.settings.get("floor") or {}).get("rmse_a", math.nan))

    def headline(self) -> str:
        """Return who is best, how many methods meet what is expected, and how many runs failed."""
        winner = best(self.results)
        if winner is None:
            return ": no result yet"
        marks = [mark for result in self.results if (mark := verdict(result))]
        met = f"; {len(marks) - marks.count('falls short')} of {len(marks)} meet the expected score" if marks else ""
        failed, runs = sum(r.failed for r in self.results), sum(len(r.seeds) for r in self.results)
        lost = f"; {failed} of {runs} runs diverged or were never locked" if failed else ""
        return f": {winner.method} is best, RMSE {winner.rmse}{met}{lost}"

    def section(self, figures: bool = True) -> Html:
        """Return the section of the page, with figures or of tables alone."""
        about = describe_case(self.attrs, self.sizes, self.settings) if self.sizes else ""
        parts = [element("h2", self.title), element("p", about)]
        if self.results:
            parts += [
                element("p", describe_outcome(self.results), class_="outcome"),
                score_table(self.results, self.floor),
            ]
            parts += self._figures() if figures else [element("h3", "Calibration"), calibration_table(self.results)]
        else:
            parts.append(element("p", "No method has finished on this case yet."))
        return element("section", *parts, id=self.anchor)

    def _figures(self) -> list[Html]:
        """Return figures of what there is: comparisons of several methods, one run in detail, calibration."""
        scored = [result for result in self.results if result.rmse_of]
        statistics = dict(self._statistics())
        compared = [ranking_figure(scored), trade_off_figure(scored)] if len(scored) > 1 else []
        shown = [figure(*drawn) for drawn in compared]
        return [*shown, *self._detail(), *self._in_time(statistics), *self._calibration(statistics)]

    def _statistics(self) -> "Iterator[tuple[str, list[xr.Dataset]]]":
        """Yield every method with the statistics of those of its runs that are kept."""
        for result in self.results:
            kept = [_load(self.files, self, result.method, int(seed)) for seed in result.seeds]
            if parts := [part for part in kept if part is not None]:
                yield result.method, parts

    def _detail(self) -> list[Html]:
        """Return one run in time and space: of the best method with the learned prior, or of the best."""
        from scoreda.datasets import open_dataset

        cold = self.settings.get("initial", {}).get("kind") == "climatology"
        for result in sorted(self.results, key=lambda result: not result.uses_network):
            seed = next((seed for seed in result.seeds if seed not in result.lost), result.seeds[0])
            path = self.files.analysis(self.name, result.method, int(seed))
            if path.is_file():
                with open_dataset(path, needs=("analysis",)) as run:
                    if "truth" in run:
                        title = f"{result.method}, seed {seed},"
                        return [figure(*hovmoeller_figure(run, title, from_start=cold))]
        return []

    def _in_time(self, statistics: "Mapping[str, list[xr.Dataset]]") -> list[Html]:
        """Return the scores of every cycle: over seeds, or of the one that there is."""
        if not statistics:
            return []
        if max(map(len, statistics.values())) == 1:
            one = {name: part for name, (part,) in statistics.items()}
            return [figure(*series_figure(one, self.settings.get("burn_in", 0)))]
        errors = {name: np.stack([part["rmse_a"].values for part in parts]) for name, parts in statistics.items()}
        return [figure(*acquisition_figure(self.results, errors, self.settings.get("lock_level")))]

    def _calibration(self, statistics: "Mapping[str, list[xr.Dataset]]") -> list[Html]:
        """Return the table of calibration, and its figures as far as distributions were kept."""
        counted = {name: [part for part in parts if "rank_counts" in part] for name, parts in statistics.items()}
        totals = {name: summed(parts) for name, parts in counted.items() if parts}
        shown = [element("h3", "Calibration"), calibration_table(self.results)]
        if totals:
            counts = {name: total["rank_counts"].values for name, total in totals.items()}
            shown += [figure(*calibration_figure(self.results, totals)), figure(*rank_figure(counts))]
        return shown


def _twin(files: RunFolder, case: str) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    """Return attributes and sizes of a twin; empty if there is no file yet."""
    from scoreda.datasets import open_dataset

    path = files.any_twin(case)
    if not path.is_file():
        return {}, {}
    with open_dataset(path, needs=("obs",)) as twin:
        return dict(twin.attrs), {str(name): size for name, size in twin.sizes.items()}


def _load(files: RunFolder, case: ReportCase, method: str, seed: int) -> "xr.Dataset | None":
    """Return the statistics of a run: kept beside its scores, or computed from its analysis; None if there are none."""
    from scoreda.datasets import open_dataset
    from scoreda.verification import distributions, verify

    series = files.result(case.name, method, seed).with_name("series.nc")
    if series.is_file():
        with open_dataset(series, needs=("rmse_a",)) as statistics:
            return statistics.load()
    analysis, burn_in = files.analysis(case.name, method, seed), case.settings.get("burn_in", 0)
    if not analysis.is_file():
        return None
    with open_dataset(analysis, needs=("analysis",)) as run:
        if "truth" not in run:
            return None
        return verify(run).merge(distributions(run, burn_in), combine_attrs="override")
