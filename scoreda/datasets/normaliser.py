"""The affine map between physical units and the units that networks see."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Normaliser"]


@dataclass(frozen=True)
class Normaliser:
    """`(x - mean) / std` with scalars, so that it serves any domain size.

    Raises:
        ValueError: if `std` is not positive or either value is not finite.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and np.isfinite(self.std) and self.std > 0):
            raise ValueError(f"need a finite mean and a positive std, got {self.mean} and {self.std}.")

    @classmethod
    def of(cls, states: np.ndarray) -> "Normaliser":
        """Return the normaliser of a data array: its mean and standard deviation over everything."""
        return cls(float(np.mean(states, dtype=np.float64)), float(np.std(states, dtype=np.float64)))

    @classmethod
    def of_chunks(cls, chunks: Iterable[np.ndarray]) -> "Normaliser":
        """Return the normaliser of an array that comes in chunks, to rounding that of the whole.

        Source: Chan, Golub and LeVeque (1983), eq. 2.1, https://doi.org/10.1080/00031305.1983.10483115
        """
        number, mean, squares = 0, 0.0, 0.0
        for chunk in chunks:
            own, total = cls.of(chunk), number + chunk.size
            squares += chunk.size * (own.std**2 + (own.mean - mean) ** 2 * number / total)
            mean += (own.mean - mean) * chunk.size / total
            number = total
        return cls(mean, float(np.sqrt(squares / max(number, 1))))

    def apply(self, x: Any) -> Any:
        """Map physical units to normalised ones (NumPy or torch)."""
        return (x - self.mean) / self.std

    def invert(self, x: Any) -> Any:
        """Map normalised units to physical ones."""
        return x * self.std + self.mean

    def to_dict(self) -> dict[str, float]:
        """Return the two numbers."""
        return {"mean": self.mean, "std": self.std}
