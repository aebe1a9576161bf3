"""Dynamical systems and their integrators."""

from typing import Any

from scoreda.errors import ScoredaError, suggest
from scoreda.models.base import Model, require
from scoreda.models.integrators import SCHEMES
from scoreda.models.lorenz96 import Lorenz96
from scoreda.models.user import UserModel

__all__ = ["MODELS", "SCHEMES", "Lorenz96", "Model", "UserModel", "from_spec", "require"]

MODELS = {Lorenz96.name: Lorenz96}


def from_spec(spec: dict[str, Any]) -> Model:
    """Rebuild a model from `model.spec()`."""
    settings = dict(spec)
    name = settings.pop("name", "")
    if name not in MODELS:
        raise ScoredaError(f"unknown model '{name}'; {suggest(name, MODELS)}")
    return MODELS[name](**settings)
