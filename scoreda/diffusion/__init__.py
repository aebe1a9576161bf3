"""The diffusion core: schedules, denoisers, networks, training, samplers, guidance, and the prior that holds them."""

from scoreda.diffusion.denoisers import CirculantGaussian, Denoiser, GaussianDenoiser, KarrasDenoiser
from scoreda.diffusion.guidance import MomentMatching
from scoreda.diffusion.networks import ConvNet1d
from scoreda.diffusion.prior import Prior, load_prior, save_prior, shipped_priors
from scoreda.diffusion.samplers import HeunSampler, noise
from scoreda.diffusion.schedules import EDM, Schedule, VPCosine
from scoreda.diffusion.training import Trainer, TrainSettings

__all__ = [
    "EDM",
    "CirculantGaussian",
    "ConvNet1d",
    "Denoiser",
    "GaussianDenoiser",
    "HeunSampler",
    "KarrasDenoiser",
    "MomentMatching",
    "Prior",
    "Schedule",
    "TrainSettings",
    "Trainer",
    "VPCosine",
    "load_prior",
    "noise",
    "save_prior",
    "shipped_priors",
]
