"""States drawn from a prior, as a file."""

from collections.abc import Sequence
from pathlib import Path

from scoreda.errors import ScoredaError

__all__ = ["points_along_axes", "write_samples"]


def write_samples(prior: str, number: int, size: Sequence[int], seed: int, path: Path, device: str = "cpu") -> None:
    """Draw `number` states and write them as `sample (sample_index, *, space)`.

    Between the two dimensions come `channel` and, for a plane, `row`, where the prior has them. `size` is the points
    along every axis of space, or one number for all of them.

    Raises:
        ScoredaError: if the numbers make no sense, the prior cannot be loaded, or the file cannot be written.
    """
    if number < 1 or min(size) < 1 or seed < 0:
        sizes = " ".join(map(str, size))
        raise ScoredaError(f"--number and --size must be at least 1 and --seed 0, got {number}, {sizes} and {seed}.")
    from scoreda.datasets import write_dataset
    from scoreda.datasets.layout import flat_dataset
    from scoreda.datasets.provenance import provenance
    from scoreda.diffusion import load_prior

    loaded = load_prior(prior, device)
    points = points_along_axes(size, loaded.dimensions)
    attrs = provenance(
        f"samples of the prior {Path(prior).name}", seed, prior=Path(prior).name, number=number, size=points
    )
    states = loaded.sample(number, points, seed).astype("float32")
    between = ["channel"] * (loaded.channels != 1) + ["row"] * (loaded.dimensions == 2)
    write_dataset(flat_dataset({"sample": (("sample_index", *between, "space"), states)}, {}, attrs), path)


def points_along_axes(size: Sequence[int], dimensions: int) -> tuple[int, ...]:
    """Return one number for every axis of space, a single one for all of them.

    Raises:
        ScoredaError: if there are too many, or too few.
    """
    if len(size) not in (1, dimensions):
        raise ScoredaError(f"states of {dimensions}-D space have {dimensions} sizes, or one for all; got {len(size)}.")
    return tuple(size) * (dimensions // len(size))
