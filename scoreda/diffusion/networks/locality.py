"""How far a network looks, which is what lets a field be cut into pieces."""

from dataclasses import dataclass

__all__ = ["Locality", "not_local"]


@dataclass(frozen=True)
class Locality:
    """What an output of a local network depends on, and what it takes.

    Attributes:
        reach: Grid points to either side along each axis that an output may depend on.
        rings: Per axis, whether it is periodic.
        width: Hidden channels at work on a grid point at a time, the widest layer counted.
        grid: Where a piece may start, so that its coarse points are those of the whole: multiples of this.
    """

    reach: int
    rings: tuple[bool, ...]
    width: int
    grid: int = 1

    @property
    def halo(self) -> int:
        """The reach, rounded up to where a piece may start."""
        return -(-self.reach // self.grid) * self.grid


def not_local(name: str, why: str) -> ValueError:
    """Return the error of a network whose outputs depend on all of the field."""
    return ValueError(
        f"{name} cannot be evaluated in tiles: {why}. Use a ConvNet, or a UNet with norm='channel' and "
        "attention='none', or evaluate the whole field."
    )
