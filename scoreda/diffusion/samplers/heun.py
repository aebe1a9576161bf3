"""Heun's method along the probability-flow ODE."""

from torch import Tensor

from scoreda.diffusion.samplers.base import Sampler

__all__ = ["HeunSampler"]


class HeunSampler(Sampler):
    r"""Heun's second-order method (deterministic); `2 steps - 1` denoiser evaluations.

    $$ x_s = x_t + (\alpha_s - \alpha_t) \tfrac12 (\hat x_t + \hat x_s) + (\sigma_s - \sigma_t) \tfrac12
       (\hat\epsilon_t + \hat\epsilon_s) $$

    where the estimates at `s` come from an Euler step. Under the EDM schedule this is algorithm 1 of the paper. A step
    can also be taken up, to a later time.

    Source: Karras et al. (2022), algorithm 1 without churn, https://arxiv.org/abs/2206.00364
    """

    def step(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Carry `x_t` from time `t` to the earlier (or later) time `s`."""
        schedule = self.denoiser.schedule
        d_alpha, d_sigma = schedule.alpha(s) - schedule.alpha(t), schedule.sigma(s) - schedule.sigma(t)
        x_hat, eps = self.estimates(x_t, t)
        x_hat_s, eps_s = self.estimates(x_t + d_alpha * x_hat + d_sigma * eps, s)
        return x_t + d_alpha * (x_hat + x_hat_s) / 2 + d_sigma * (eps + eps_s) / 2
