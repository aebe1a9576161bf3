r"""Noise schedules: how much signal and how much noise at diffusion time `t`.

Every schedule rests on one kernel, $p(x_t \mid x) = N(\alpha_t x, \sigma_t^2 I)$, with `t = 0` (almost) clean and
`t = 1` noise. One schedule object serves training, sampling and guidance, and is stored with the weights.
"""

from collections.abc import Mapping
from typing import Any

from scoreda.diffusion.schedules.base import (
    Schedule,
    TerminalSignalWarning,
    diffusion,
    drift,
    expand,
    log_snr,
    noised,
    noised_stepwise,
    ratio,
    terminal_ratio,
    transition,
    white_noise,
)
from scoreda.diffusion.schedules.ddpm import DDPM
from scoreda.diffusion.schedules.edm import EDM
from scoreda.diffusion.schedules.rectified_flow import RectifiedFlow
from scoreda.diffusion.schedules.sub_vp import SubVP
from scoreda.diffusion.schedules.ve import VE
from scoreda.diffusion.schedules.vp import VPCosine
from scoreda.diffusion.schedules.vp_linear import VPConstant, VPLinear
from scoreda.errors import construct

__all__ = [
    "DDPM",
    "EDM",
    "SCHEDULES",
    "VE",
    "RectifiedFlow",
    "Schedule",
    "SubVP",
    "TerminalSignalWarning",
    "VPConstant",
    "VPCosine",
    "VPLinear",
    "diffusion",
    "drift",
    "expand",
    "log_snr",
    "noised",
    "noised_stepwise",
    "ratio",
    "schedule_from_spec",
    "terminal_ratio",
    "transition",
    "white_noise",
]

KINDS = (DDPM, EDM, RectifiedFlow, SubVP, VE, VPConstant, VPCosine, VPLinear)
SCHEDULES: dict[str, Any] = {kind.name: kind for kind in KINDS}


def schedule_from_spec(spec: Mapping[str, Any]) -> Schedule:
    """Rebuild a schedule from `schedule.spec()`.

    Raises:
        ScoredaError: if there is no schedule of that name, or it has no such setting.
    """
    return construct("schedule", spec, SCHEDULES)
