"""States of the learned prior beside states of the model, for the report."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scoreda.diffusion import Prior
    from scoreda.models import Model

__all__ = ["PRIOR_SAMPLES", "write_prior_samples"]

PRIOR_SAMPLES = "prior_samples.nc"


def write_prior_samples(folder: Path | str, prior: "Prior", model: "Model", number: int = 500, seed: int = 0) -> Path:
    """Draw states from the prior and from the model's climate, and leave them where `write_report` finds them.

    Args:
        folder: Folder of a run; the file is `prior_samples.nc`, variables `prior` and `truth` `(sample, space)`.
        prior: What to draw from.
        model: The system that the prior has learned.
        number: States of each kind.
        seed: Prior and climate draw from independent children of it.
    """
    import numpy as np

    from scoreda.datasets import climate_states, write_dataset
    from scoreda.datasets.layout import flat_dataset
    from scoreda.datasets.provenance import provenance

    ours, climate = np.random.SeedSequence(seed).spawn(2)
    drawn = prior.sample(number, model.size, int(ours.generate_state(1)[0]))
    own = climate_states(model, number, np.random.default_rng(climate))
    variables = {name: (("sample", "space"), x.astype("float32")) for name, x in {"prior": drawn, "truth": own}.items()}
    attrs = provenance("samples of the prior and of the model", seed, number=number, model=model.spec())
    path = Path(folder) / PRIOR_SAMPLES
    write_dataset(flat_dataset(variables, {}, attrs), path)
    return path
