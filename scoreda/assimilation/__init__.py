"""Assimilation methods, the cycle that runs them, and forecasts from their analyses.

The methods are loaded on first use: the classical ones need Numba and SciPy, the score-based ones torch.
"""

from importlib import import_module
from typing import Any

from scoreda.allocator import keep_freed_memory
from scoreda.assimilation.cycle import assimilate, assimilate_to, initial_ensemble, resume
from scoreda.assimilation.forecast import forecast
from scoreda.assimilation.persistence import load_state, save_state
from scoreda.assimilation.protocol import Info, Method, State

_HOMES = {
    "Adaptive": "baselines",
    "BootstrapPF": "baselines",
    "Climatological": "baselines",
    "DEnKF": "baselines",
    "ETKF": "baselines",
    "EnKFN": "baselines",
    "EnKS": "baselines",
    "ExtendedKalman": "baselines",
    "FourDVar": "baselines",
    "FreeRun": "baselines",
    "IEnKS": "baselines",
    "Inflated": "baselines",
    "Inflation": "baselines",
    "LETKF": "baselines",
    "LikelihoodAware": "baselines",
    "LocalIEnKS": "baselines",
    "LocalPF": "baselines",
    "Multiplicative": "baselines",
    "OptimalInterpolation": "baselines",
    "OptimalPF": "baselines",
    "Persistence": "baselines",
    "RTPP": "baselines",
    "RTPS": "baselines",
    "RankHistogramFilter": "baselines",
    "SerialEnSRF": "baselines",
    "StochasticEnKF": "baselines",
    "ThreeDVar": "baselines",
    "CoupledScoreFilter": "score",
    "Decomposed": "decomposed",
    "Score4D": "score",
    "analyse_blocks": "decomposed",
}

__all__ = [
    "Info",
    "Method",
    "State",
    "assimilate",
    "assimilate_to",
    "forecast",
    "initial_ensemble",
    "load_state",
    "resume",
    "save_state",
    *_HOMES,
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"scoreda.assimilation.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'scoreda.assimilation' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


keep_freed_memory()
