"""Euler's method along the probability-flow ODE."""

import torch
from torch import Tensor
from torch.func import jvp

from scoreda.diffusion.samplers.base import Sampler

__all__ = ["EulerSampler"]


class EulerSampler(Sampler):
    r"""Euler's first-order method in the schedule's own `t` (deterministic); `steps` denoiser evaluations.

    $$ x_s = x_t + (s - t) \left(\dot\alpha_t \hat x + \dot\sigma_t \hat\epsilon\right) $$

    which is $f x_t - \tfrac12 g^2 \nabla \log p$ in other words. Where alpha and sigma are linear in `t` it is the
    mixing sampler $x_s = x_t + \tfrac{t - s}{t} (\hat x - x_t)$.

    Source: Song et al. (2021), Score-based generative modeling through stochastic differential equations, eq. 13,
    https://arxiv.org/abs/2011.13456
    """

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier (or later) time `s`."""
        schedule, one = self.denoiser.schedule, torch.ones_like(t)
        x_hat, eps = self.estimates(x_t, t)
        d_alpha, d_sigma = jvp(schedule.alpha, (t,), (one,))[1], jvp(schedule.sigma, (t,), (one,))[1]
        return x_t + (s - t) * (d_alpha * x_hat + d_sigma * eps)
