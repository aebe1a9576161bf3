"""DPM-Solver++(2M): an exponential integrator that remembers one step."""

from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.samplers.base import Sampler, Step
from scoreda.diffusion.samplers.spacing import Spacing
from scoreda.diffusion.schedules import log_snr

__all__ = ["DPMSolverSampler"]


class DPMSolverSampler(Sampler):
    r"""The multistep exponential integrator of second order (deterministic); `steps` denoiser evaluations.

    With $\lambda = \ln(\alpha / \sigma)$ and $h = \lambda_s - \lambda_t$ the linear part of the probability-flow ODE is
    solved exactly, and the denoised state is extrapolated to the middle of the step from the step before it,

    $$ x_s = \frac{\sigma_s}{\sigma_t} x_t + \alpha_s (1 - e^{-h}) \Big[\hat x_t + \frac{h}{2 h_{-1}}
       (\hat x_t - \hat x_{-1})\Big]. $$

    The first step of a path has nothing to remember and is of first order, DDIM.

    Args:
        denoiser: Any denoiser, guided or not.
        steps: Steps from `start` to zero noise.
        generator: Not used.
        spacing: As for `Sampler`, but uniform in lambda unless told otherwise: neighbouring steps must be alike for the
            extrapolation, and those of VPCosine's own `t` are not near t = 1.
        settings: As for every `Sampler`.

    Source: Lu et al. (2022), DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models,
    algorithm 2, https://arxiv.org/abs/2211.01095
    """

    def __init__(
        self,
        denoiser: Denoiser,
        steps: int = 18,
        generator: torch.Generator | None = None,
        spacing: Spacing | str = "log_snr",
        **settings: Any,
    ) -> None:
        super().__init__(denoiser, steps, generator, spacing=spacing, **settings)

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier time `s` without memory: first order."""
        return self.advance(x_t, t, s, self.denoiser(x_t, t))

    def stepper(self) -> Step:
        """Return the second-order step with a memory of its own."""
        schedule, past = self.denoiser.schedule, list[tuple[Tensor, Tensor]]()

        def step(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
            x_hat, lambda_t = self.denoiser(x_t, t), log_snr(schedule, t)
            middle = x_hat
            if past:
                lambda_past, x_past = past.pop()
                middle = x_hat + (log_snr(schedule, s) - lambda_t) / (lambda_t - lambda_past) / 2 * (x_hat - x_past)
            past.append((lambda_t, x_hat))
            return self.advance(x_t, t, s, middle)

        return step

    def advance(self, x_t: Tensor, t: Tensor, s: Tensor, x_hat: Tensor) -> Tensor:
        """Solve the ODE from `t` to `s` exactly for a denoised state that stays `x_hat`."""
        alpha, sigma = self.denoiser.schedule.alpha, self.denoiser.schedule.sigma
        shrink = sigma(s) / sigma(t)
        return shrink * x_t + (alpha(s) - shrink * alpha(t)) * x_hat
