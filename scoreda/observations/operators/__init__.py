"""Observation operators: from states to what an instrument sees.

Every operator is called as `operator(E)` on NumPy arrays or torch tensors with the state on the last axis, knows its
derivative, and can be restricted to some of its outputs (that is how missing values are dropped).
"""

from typing import Any

from scoreda.errors import ScoredaError, suggest
from scoreda.observations.operators.base import Operator
from scoreda.observations.operators.carried import carried_to
from scoreda.observations.operators.elementwise import FUNCTIONS, Elementwise
from scoreda.observations.operators.linear import Interpolated, Linear
from scoreda.observations.operators.moving import MovingSites, operator_at
from scoreda.observations.operators.products import NeighbourProducts
from scoreda.observations.operators.sites import EveryNth, Identity, RandomSites, Sites
from scoreda.observations.operators.user import UserOperator

__all__ = [
    "FUNCTIONS",
    "OPERATORS",
    "Elementwise",
    "EveryNth",
    "Identity",
    "Interpolated",
    "Linear",
    "MovingSites",
    "NeighbourProducts",
    "Operator",
    "RandomSites",
    "Sites",
    "UserOperator",
    "carried_to",
    "operator_at",
    "operator_from_spec",
]

OPERATORS: dict[str, Any] = {
    kind.name: kind for kind in (Sites, Elementwise, Linear, Interpolated, NeighbourProducts, MovingSites)
}


def operator_from_spec(spec: dict[str, Any]) -> Any:
    """Rebuild an operator, or a rule that gives one per time, from its `spec()`."""
    settings = dict(spec)
    name = str(settings.pop("name", ""))
    if name not in OPERATORS:
        raise ScoredaError(f"unknown operator '{name}'; {suggest(name, OPERATORS)}")
    if "selection" in settings:
        settings["selection"] = operator_from_spec(settings["selection"])
    return OPERATORS[name](**settings)
