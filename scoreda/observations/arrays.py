"""The two array libraries that operators and errors work on alike, NumPy and torch."""

from typing import Any

import numpy as np

__all__ = ["Array", "host", "library", "like"]

Array = Any  # of NumPy or torch


def library(x: Any) -> Any:
    """Return the module (numpy or torch) that `x` belongs to."""
    if isinstance(x, np.ndarray | np.generic):
        return np
    import torch

    return torch


def like(array: Array, x: Array) -> Array:
    """Return `array` as what `x` is: itself, or a tensor of the type and on the device of `x`; a tensor as it is."""
    return x.new_tensor(array) if library(x) is not np and library(array) is np else array


def host(x: Any) -> np.ndarray:
    """Return an array of either library as NumPy's."""
    return x if library(x) is np else x.cpu().numpy()
