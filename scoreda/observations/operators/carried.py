"""Operators whose arrays are on a device before they are called: then observing there takes nothing from the host."""

import copy
from typing import Any, TypeVar

import numpy as np

from scoreda.observations.arrays import library, like

__all__ = ["carried_to"]

Kind = TypeVar("Kind")


def carried_to(x: Any, operator: Kind) -> Kind:
    """Return an operator for tensors of the type of `x` and on its device, and for these alone.

    The class of an operator names in `carried` what it reads when it observes: arrays, or operators inside. What names
    nothing, such as a user's function, is returned as it is.
    """
    names = getattr(operator, "carried", ())
    moved = copy.copy(operator) if names else operator
    for name in names:
        setattr(moved, name, _part(x, getattr(operator, name)))
    return moved


def _part(x: Any, part: Any) -> Any:
    if not isinstance(part, np.ndarray):
        return carried_to(x, part)
    # Indices and masks keep their type.
    return like(part, x) if part.dtype.kind == "f" else library(x).as_tensor(part, device=x.device)
