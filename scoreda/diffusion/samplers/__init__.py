r"""Samplers: from noise to data.

With $\hat x = E[x \mid x_t]$ and $\hat\epsilon = (x_t - \alpha_t \hat x) / \sigma_t$ the probability-flow ODE of
every schedule reads $dx_t = \hat x\, d\alpha_t + \hat\epsilon\, d\sigma_t$, so a sampler is one quadrature step of that
equation. Stochastic samplers move with some noise along with it and keep the same marginals.
"""

from scoreda.diffusion.samplers.base import Sampler, noise
from scoreda.diffusion.samplers.ddim import DDIMSampler
from scoreda.diffusion.samplers.ddpm import DDPMSampler
from scoreda.diffusion.samplers.dpm_solver import DPMSolverSampler
from scoreda.diffusion.samplers.edm import EDMSampler
from scoreda.diffusion.samplers.euler import EulerSampler
from scoreda.diffusion.samplers.euler_maruyama import EulerMaruyamaSampler
from scoreda.diffusion.samplers.heun import HeunSampler
from scoreda.diffusion.samplers.predictor_corrector import PredictorCorrectorSampler
from scoreda.diffusion.samplers.spacing import SPACINGS, Spacing
from scoreda.errors import choose

__all__ = [
    "SAMPLERS",
    "SPACINGS",
    "DDIMSampler",
    "DDPMSampler",
    "DPMSolverSampler",
    "EDMSampler",
    "EulerMaruyamaSampler",
    "EulerSampler",
    "HeunSampler",
    "PredictorCorrectorSampler",
    "Sampler",
    "Spacing",
    "noise",
    "sampler_by_name",
]

SAMPLERS: dict[str, type[Sampler]] = {
    "ddim": DDIMSampler,
    "ddpm": DDPMSampler,
    "dpm_solver": DPMSolverSampler,
    "edm": EDMSampler,
    "euler": EulerSampler,
    "euler_maruyama": EulerMaruyamaSampler,
    "heun": HeunSampler,
    "predictor_corrector": PredictorCorrectorSampler,
}


def sampler_by_name(name: str) -> type[Sampler]:
    """Return the class of a sampler; all are made as `kind(denoiser, steps, generator, **settings)`.

    Raises:
        ScoredaError: if there is no sampler of that name.
    """
    return choose("sampler", name, SAMPLERS)
