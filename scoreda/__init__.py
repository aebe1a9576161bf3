"""Data assimilation with learned diffusion priors.

Names are loaded on first use, so `import scoreda` costs nothing and has no side effects.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "simulate": "scoreda.datasets",
    "climatology": "scoreda.datasets",
    "load_prior": "scoreda.diffusion",
    "assimilate": "scoreda.assimilation",
    "forecast": "scoreda.assimilation",
    "initial_ensemble": "scoreda.assimilation",
    "verify": "scoreda.verification",
}
_ROOMS = ("assimilation", "datasets", "diffusion", "experiments", "models", "observations", "plotting", "verification")

__all__ = ["__version__", *_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"scoreda.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'scoreda' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
