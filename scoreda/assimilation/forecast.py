"""Ensemble forecasts from the analyses of a run."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from scoreda.assimilation.protocol import whole_steps
from scoreda.datasets import model_of
from scoreda.datasets.layout import flat_dataset, model_times
from scoreda.datasets.provenance import derived
from scoreda.errors import ScoredaError
from scoreda.models import Model

__all__ = ["forecast"]


def forecast(run: xr.Dataset, model: Model | None = None, *, lead_times: Sequence[float]) -> xr.Dataset:
    """Forecast from every analysis of `run`.

    Args:
        run: Holds `analysis (time, member, space)`, such as `assimilate` returns or `open_dataset` reads. Select times
            first (`run.isel(time=...)`) if not all are to be initial states.
        model: In place of the one named in the attributes.
        lead_times: Model time units, increasing, from 0 on, whole numbers of model steps.

    Returns:
        `forecast (init_time, lead_time, member, space)` in single precision, with the coordinate `valid_time
        (init_time, lead_time)`. `with_calendar` turns the three times into dates with their CF standard names.

    Raises:
        ScoredaError: if there is no analysis, or only code can rebuild the model.
        ValueError: if the lead times do not fit.
    """
    if "analysis" not in run or run["analysis"].dims != ("time", "member", "space"):
        raise ScoredaError(
            "the dataset has no `analysis (time, member, space)` to start from. Pass a run of `assimilate`."
        )
    model = model or model_of(run)
    starts, leads = model_times(run), _check_leads(lead_times)
    states = _propagate(model, run["analysis"].values, leads)
    coords = {
        "init_time": ("init_time", starts),
        "lead_time": ("lead_time", leads),
        "valid_time": (("init_time", "lead_time"), starts[:, None] + leads),
    }
    variables = {"forecast": (("init_time", "lead_time", "member", "space"), states)}
    return flat_dataset(variables, coords, derived(run.attrs, f"forecast from: {run.attrs.get('title', 'analyses')}"))


def _check_leads(lead_times: Sequence[float]) -> np.ndarray:
    leads = np.asarray(lead_times, dtype=np.float64)
    if leads.ndim != 1 or not len(leads) or not (np.diff(leads, prepend=-1e-9) > 0).all():
        raise ValueError(
            f"`lead_times` must increase from 0 or later, got {lead_times}. Pass a list such as [0.5, 1.0]."
        )
    return leads


def _propagate(model: Model, analysis: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """Return float32 states `(time, lead, N, Nx)`; every member of every start advances in one call of the model."""
    starts, members, size = analysis.shape
    E = analysis.reshape(-1, size)
    states = np.empty((starts, len(leads), members, size), dtype=np.float32)
    for j, (start, end) in enumerate(zip([0.0, *leads[:-1]], leads, strict=True)):
        E = model.step(E, whole_steps(model, start, end))
        states[:, j] = E.reshape(analysis.shape)
    return states
