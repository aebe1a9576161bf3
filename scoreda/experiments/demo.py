"""The demo: two twin experiments with the shipped prior, scores beside published ones, a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scoreda.experiments.config import Experiment, load_config, resolved
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.report import write_report
from scoreda.experiments.run import pinned, run_experiment
from scoreda.experiments.shipped import shipped_configs

__all__ = ["demo_config", "run_demo"]


def demo_config(prior: str | None = None, overrides: Sequence[str] = ()) -> Experiment:
    """Return the configuration of the demo, with another prior if one is named."""
    config = load_config(Experiment, shipped_configs()["demo"], overrides)
    return config if prior is None else config.model_copy(update={"prior": prior})


def run_demo(config: Experiment, out: Path | str = "runs/demo", device: str = "cpu") -> list[dict[str, Any]]:
    """Run the demo into `out`, continuing or replacing an earlier demo there, and return the score rows.

    Raises:
        ScoredaError: if `out` holds a run that is no demo, or the prior cannot be loaded.
    """
    config, _ = pinned(config, device)
    earlier = RunFolder(Path(out)).earlier() or {}
    stale = earlier.get("name") == config.name and earlier != resolved(config)
    rows = run_experiment(config, out, device, overwrite=stale)
    write_report(out)
    return rows
