"""States drawn from a prior, as a file."""

from collections.abc import Sequence
from pathlib import Path

from scoreda.errors import ScoredaError
from scoreda.experiments.memory import draws_unlimited, draws_within

__all__ = ["describe_samples", "points_along_axes", "write_samples"]


def write_samples(
    prior: str,
    number: int,
    size: Sequence[int],
    seed: int,
    path: Path,
    device: str = "cpu",
    memory: int | None = None,
) -> None:
    """Draw `number` states and write them as `sample (sample_index, *, space)`.

    Between the two dimensions come `channel` and, for a plane, `row`, where the prior has them. `size` is the points
    along every axis of space, or one number for all of them. Within `memory` bytes, states are drawn in batches and
    the network is evaluated in tiles.

    Raises:
        ScoredaError: if the numbers make no sense, the prior cannot be loaded, the memory does not suffice, or the file
            cannot be written.
    """
    _check_numbers(number, size, seed)
    from scoreda.datasets import write_dataset
    from scoreda.datasets.layout import check_writable, flat_dataset
    from scoreda.datasets.provenance import provenance
    from scoreda.diffusion import load_prior

    loaded = load_prior(prior, device)
    points = points_along_axes(size, loaded.dimensions)
    check_writable(path)
    attrs = provenance(
        f"samples of the prior {Path(prior).name}", seed, prior=Path(prior).name, number=number, size=points
    )
    if memory is None:
        states = loaded.sample(number, points, seed).astype("float32")
    else:
        draws = draws_within(loaded, number, points, memory)
        states = loaded.within(draws.for_network).sample(number, points, seed, batch=draws.batch).astype("float32")
    between = ["channel"] * (loaded.channels != 1) + ["row"] * (loaded.dimensions == 2)
    write_dataset(flat_dataset({"sample": (("sample_index", *between, "space"), states)}, {}, attrs), path)


def describe_samples(prior: str, number: int, size: Sequence[int], memory: int | None = None) -> str:
    """Return what drawing takes, as YAML comments; without `memory` that of one batch of 1000 states."""
    from scoreda.diffusion import load_prior

    _check_numbers(number, size, 0)
    loaded = load_prior(prior)
    points = points_along_axes(size, loaded.dimensions)
    draws = draws_unlimited(loaded, number, points) if memory is None else draws_within(loaded, number, points, memory)
    return "".join(f"# {line}\n" for line in draws.lines())


def _check_numbers(number: int, size: Sequence[int], seed: int) -> None:
    if number < 1 or min(size) < 1 or seed < 0:
        sizes = " ".join(map(str, size))
        raise ScoredaError(f"--number and --size must be at least 1 and --seed 0, got {number}, {sizes} and {seed}.")


def points_along_axes(size: Sequence[int], dimensions: int) -> tuple[int, ...]:
    """Return one number for every axis of space, a single one for all of them.

    Raises:
        ScoredaError: if there are too many, or too few.
    """
    if len(size) not in (1, dimensions):
        raise ScoredaError(f"states of {dimensions}-D space have {dimensions} sizes, or one for all; got {len(size)}.")
    return tuple(size) * (dimensions // len(size))
