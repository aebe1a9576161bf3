"""Observation operators, error models and networks."""

from scoreda.observations.errors import GaussianError
from scoreda.observations.network import Network, Observation
from scoreda.observations.operators import (
    Elementwise,
    EveryNth,
    Identity,
    Operator,
    Sites,
    UserOperator,
    operator_from_spec,
)

__all__ = [
    "Elementwise",
    "EveryNth",
    "GaussianError",
    "Identity",
    "Network",
    "Observation",
    "Operator",
    "Sites",
    "UserOperator",
    "operator_from_spec",
]
