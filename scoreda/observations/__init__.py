"""Observation operators, error models and networks."""

from scoreda.observations.errors import (
    ERRORS,
    CorrelatedGaussianError,
    ErrorModel,
    GaussianError,
    LaplaceError,
    StudentTError,
    error_from_spec,
)
from scoreda.observations.network import Network, Observation
from scoreda.observations.operators import (
    FUNCTIONS,
    Elementwise,
    EveryNth,
    Identity,
    Interpolated,
    Linear,
    MovingSites,
    NeighbourProducts,
    Operator,
    RandomSites,
    Sites,
    UserOperator,
    operator_at,
    operator_from_spec,
)

__all__ = [
    "ERRORS",
    "FUNCTIONS",
    "CorrelatedGaussianError",
    "Elementwise",
    "ErrorModel",
    "EveryNth",
    "GaussianError",
    "Identity",
    "Interpolated",
    "LaplaceError",
    "Linear",
    "MovingSites",
    "NeighbourProducts",
    "Network",
    "Observation",
    "Operator",
    "RandomSites",
    "Sites",
    "StudentTError",
    "UserOperator",
    "error_from_spec",
    "operator_at",
    "operator_from_spec",
]
