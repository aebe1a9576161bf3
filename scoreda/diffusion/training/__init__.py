"""Training a denoiser: on one process or several, from arrays, windows of time or fields with gaps."""

from scoreda.diffusion.training.archive_samples import ArchiveSamples
from scoreda.diffusion.training.distributed import Ranks, process_group
from scoreda.diffusion.training.footprint import footprint
from scoreda.diffusion.training.levels import LEVELS
from scoreda.diffusion.training.metrics import MetricsLog
from scoreda.diffusion.training.preview import Preview
from scoreda.diffusion.training.reproducible import deterministic
from scoreda.diffusion.training.samples import Samples
from scoreda.diffusion.training.settings import TrainSettings
from scoreda.diffusion.training.trainer import Trainer
from scoreda.diffusion.training.windows import windows

__all__ = [
    "LEVELS",
    "ArchiveSamples",
    "MetricsLog",
    "Preview",
    "Ranks",
    "Samples",
    "TrainSettings",
    "Trainer",
    "deterministic",
    "footprint",
    "process_group",
    "windows",
]
