"""Training a denoiser."""

from scoreda.diffusion.training.settings import TrainSettings
from scoreda.diffusion.training.trainer import Trainer

__all__ = ["TrainSettings", "Trainer"]
