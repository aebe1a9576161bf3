"""Guidance by observations. One paper, one file.

What `GUIDANCE` lists are denoisers of p(x | x_t, y) that wrap a denoiser of p(x | x_t), each called as
`Method(denoiser, y, H, R, ...)`. `ClassifierFree` wraps a conditional network; `RePaint` and `TwistedSMC` are samplers.
"""

from scoreda.diffusion.guidance.base import Guidance
from scoreda.diffusion.guidance.classifier_free import ClassifierFree, drop_condition
from scoreda.diffusion.guidance.constant_derivative import ConstantDerivative
from scoreda.diffusion.guidance.diffpir import DiffPIR
from scoreda.diffusion.guidance.dps import DPS
from scoreda.diffusion.guidance.fi6 import FI6
from scoreda.diffusion.guidance.jfps import JFPS
from scoreda.diffusion.guidance.moment_matching import MomentMatching
from scoreda.diffusion.guidance.observed import Observed
from scoreda.diffusion.guidance.particles import Particles
from scoreda.diffusion.guidance.pigdm import PiGDM
from scoreda.diffusion.guidance.recorded import Recorded
from scoreda.diffusion.guidance.repaint import RePaint
from scoreda.diffusion.guidance.sda import SDA
from scoreda.diffusion.guidance.tmpd import TMPD
from scoreda.diffusion.guidance.twisted_smc import TwistedSMC
from scoreda.errors import ScoredaError, bare, choose

__all__ = [
    "DPS",
    "FI6",
    "GUIDANCE",
    "JFPS",
    "SDA",
    "TMPD",
    "ClassifierFree",
    "ConstantDerivative",
    "DiffPIR",
    "Guidance",
    "MomentMatching",
    "Observed",
    "Particles",
    "PiGDM",
    "RePaint",
    "Recorded",
    "TwistedSMC",
    "drop_condition",
    "guidance_by_name",
]

_KINDS: tuple[type[Guidance], ...] = (ConstantDerivative, DiffPIR, DPS, FI6, JFPS, MomentMatching, PiGDM, SDA, TMPD)
GUIDANCE: dict[str, type[Guidance]] = {kind.name: kind for kind in _KINDS}
_ELSEWHERE = {
    "twistedsmc": "the sampler TwistedSMC(denoiser, y, H, R, generator)",
    "tds": "the sampler TwistedSMC(denoiser, y, H, R, generator)",
    "repaint": "the sampler RePaint(denoiser, y, steps, generator)",
    "classifierfree": "the denoiser ClassifierFree(denoiser, condition, weight)",
}


def guidance_by_name(name: str) -> type[Guidance]:
    """Return the guidance method called `name`, to be called as `Method(denoiser, y, H, R, ...)`.

    Raises:
        ScoredaError: if there is none of that name, or what has it is called otherwise.
    """
    if bare(name) in _ELSEWHERE:
        raise ScoredaError(
            f"guidance '{name}' is not called as Method(denoiser, y, H, R). Use {_ELSEWHERE[bare(name)]} of "
            "scoreda.diffusion.guidance."
        )
    return choose("guidance", name, GUIDANCE)
