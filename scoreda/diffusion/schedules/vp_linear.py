"""Variance-preserving schedules with a linear and with a constant rate."""

from typing import Any

from scoreda.diffusion.schedules.base import warn_of_terminal_signal
from scoreda.diffusion.schedules.rate import LinearRate, VariancePreserving

__all__ = ["VPConstant", "VPLinear"]


class VPLinear(VariancePreserving):
    r"""The VP SDE: $dx = -\tfrac12 \beta_u x\, du + \sqrt{\beta_u}\, dw$ with a rate that rises linearly.

    Args:
        beta_min: Rate at u = 0.
        beta_max: Rate at u = 1.
        t_min: The u at which t = 0, which sets the least noise: .00001, as the source trains with, gives sigma = .001;
            .001, as it samples with, .010.

    Source: Song et al. (2021), eq. 32 and appendix C, https://arxiv.org/abs/2011.13456
    """

    name = "vp_linear"
    rate: LinearRate

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-5) -> None:
        self.rate = LinearRate(beta_min, beta_max, t_min)
        warn_of_terminal_signal(self, "Raise `beta_max`.")

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
        return dict(name=self.name, beta_min=self.rate.beta_min, beta_max=self.rate.beta_max, t_min=self.rate.t_min)


class VPConstant(VariancePreserving):
    r"""The Ornstein-Uhlenbeck process $dx = -\tfrac12 \beta x\, du + \sqrt\beta\, dw$.

    Half of `t` goes to states without signal: with beta = 10 the two are equal at t = .07, so steps want a spacing in
    the log signal-to-noise ratio.

    Args:
        beta: The rate, 2 / relaxation time; at 10, e^-5 of the signal is left.
        t_min: The u at which t = 0; sigma there is about sqrt(beta t_min), .003. With 1 / T, T uniform steps of a
            sampler are those of the source, whose least noise is .0998 for T = 1000.

    Source: Yasuda (2026), https://github.com/YukiYasuda2718/tutorial-diffusion-frameworks, `src/frameworks/ddpm.py`
    """

    name = "vp_constant"
    rate: LinearRate

    def __init__(self, beta: float = 10.0, t_min: float = 1e-6) -> None:
        self.rate = LinearRate(beta, beta, t_min)
        warn_of_terminal_signal(self, "Raise `beta`.")

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
        return dict(name=self.name, beta=self.rate.beta_max, t_min=self.rate.t_min)
