"""Samples drawn while a network learns, to see what it has learned so far."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scoreda.datasets.layout import replacing
from scoreda.diffusion.samplers import HeunSampler, noise

if TYPE_CHECKING:
    from scoreda.diffusion.training.trainer import Trainer

__all__ = ["Preview"]


class Preview:
    """A callback of `Trainer.run`: samples of the averaged network after every validation, from the same noise always.

    They go to `previews.npz` in the folder of the training: `step_<k>` `(number, C, *)` for every validation so far.

    Args:
        shape: `(number, C, L)` or `(number, C, H, W)`.
        steps: Of the Heun sampler.
        seed: Of the noise.
        invert: From normalised to physical units, such as `normaliser.invert`; default none.
    """

    def __init__(
        self, shape: tuple[int, ...], steps: int = 18, seed: int = 0, invert: Callable[[Any], Any] | None = None
    ) -> None:
        self.shape, self.steps, self.seed, self.invert = tuple(shape), steps, seed, invert or (lambda x: x)

    def __call__(self, trainer: "Trainer", row: dict[str, float]) -> None:
        """Draw and write; samples later than this step, of a run that was interrupted, are dropped."""
        path = trainer.folder / "previews.npz"
        samples = {f"step_{int(row['step']):08}": self.draw(trainer)}
        if path.is_file():
            with np.load(path) as earlier:
                samples = {name: earlier[name] for name in earlier.files if name < min(samples)} | samples
        with replacing(path) as partial, open(partial, "wb") as f:
            np.savez(f, **samples)  # type: ignore[arg-type]

    def draw(self, trainer: "Trainer") -> np.ndarray:
        """Return samples of the averaged network, the shape of the preview."""
        denoiser: Any = trainer.averaged
        generator = torch.Generator(trainer.device).manual_seed(self.seed)
        samples = HeunSampler(denoiser, self.steps)(noise(self.shape, denoiser, generator))
        return np.asarray(self.invert(samples.cpu().numpy()))
