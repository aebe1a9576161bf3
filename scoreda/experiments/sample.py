"""States drawn from a prior, as a file."""

from pathlib import Path

from scoreda.errors import ScoredaError

__all__ = ["write_samples"]


def write_samples(prior: str, number: int, size: int, seed: int, path: Path, device: str = "cpu") -> None:
    """Draw `number` states of `size` points along each axis and write them as `sample (sample_index, *, space)`.

    Between the two dimensions come `channel` and, for a plane, `row`, where the prior has them.

    Raises:
        ScoredaError: if the numbers make no sense, the prior cannot be loaded, or the file cannot be written.
    """
    if number < 1 or size < 1 or seed < 0:
        raise ScoredaError(f"--number and --size must be at least 1 and --seed 0, got {number}, {size} and {seed}.")
    from scoreda.datasets import write_dataset
    from scoreda.datasets.layout import flat_dataset
    from scoreda.datasets.provenance import provenance
    from scoreda.diffusion import load_prior

    loaded = load_prior(prior, device)
    attrs = provenance(
        f"samples of the prior {Path(prior).name}", seed, prior=Path(prior).name, number=number, size=size
    )
    states = loaded.sample(number, size, seed).astype("float32")
    between = ["channel"] * (loaded.channels != 1) + ["row"] * (loaded.dimensions == 2)
    write_dataset(flat_dataset({"sample": (("sample_index", *between, "space"), states)}, {}, attrs), path)
