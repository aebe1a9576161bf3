"""Dynamical systems and their integrators."""

from typing import Any

from scoreda.errors import ScoredaError, suggest
from scoreda.models.base import Model, require
from scoreda.models.distributed import OnDask
from scoreda.models.integrators import SCHEMES
from scoreda.models.kuramoto_sivashinsky import KuramotoSivashinsky
from scoreda.models.lorenz05 import Lorenz05
from scoreda.models.lorenz63 import Lorenz63
from scoreda.models.lorenz96 import Lorenz96
from scoreda.models.stochastic import (
    MODEL_ERRORS,
    AdditiveError,
    ModelError,
    Shocks,
    WithModelError,
    model_error_from_spec,
    seeded,
)
from scoreda.models.truncated_lorenz96 import WILKS_CLOSURE, TruncatedLorenz96
from scoreda.models.two_scale_lorenz96 import TwoScaleLorenz96
from scoreda.models.user import UserModel

__all__ = [
    "MODELS",
    "MODEL_ERRORS",
    "SCHEMES",
    "WILKS_CLOSURE",
    "AdditiveError",
    "KuramotoSivashinsky",
    "Lorenz05",
    "Lorenz63",
    "Lorenz96",
    "Model",
    "ModelError",
    "OnDask",
    "Shocks",
    "TruncatedLorenz96",
    "TwoScaleLorenz96",
    "UserModel",
    "WithModelError",
    "from_spec",
    "require",
    "seeded",
]

MODELS: dict[str, Any] = {
    model.name: model
    for model in (Lorenz63, Lorenz96, TwoScaleLorenz96, TruncatedLorenz96, Lorenz05, KuramotoSivashinsky)
}


def from_spec(spec: dict[str, Any]) -> Model:
    """Rebuild a model from `model.spec()`; what it holds besides numbers (a model, an error) is rebuilt first."""
    settings = dict(spec)
    name = settings.pop("name", "")
    if name == WithModelError.name:
        return WithModelError(
            from_spec(settings["model"]), model_error_from_spec(settings["error"]), settings.get("seed")
        )
    if name not in MODELS:
        raise ScoredaError(f"unknown model '{name}'; {suggest(name, [*MODELS, WithModelError.name])}")
    return MODELS[name](**settings)
