"""A network under the preconditioning of EDM."""

import torch
from torch import Tensor, nn

from scoreda.diffusion.schedules import Schedule, expand, ratio

__all__ = ["KarrasDenoiser"]


class KarrasDenoiser(nn.Module):
    r"""A network under EDM preconditioning: $\hat x = c_{skip} x + c_{out} F(c_{in} x; \tfrac14 \ln s)$.

    Works under any schedule: inputs are first rescaled to `x_t / alpha_t` with noise `s = sigma_t / alpha_t`.

    Args:
        network: Called as `network(x, c_noise)` with `x` `(B, C, L)` and `c_noise` `(B,)`.
        schedule: The schedule whose times `forward` is given.
        sigma_data: Standard deviation of the (normalised) data.

    Source: Karras et al. (2022), table 1, https://arxiv.org/abs/2206.00364
    """

    def __init__(self, network: nn.Module, schedule: Schedule, sigma_data: float = 1.0) -> None:
        super().__init__()
        self.network, self.schedule, self.sigma_data = network, schedule, float(sigma_data)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the denoised states."""
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
        alpha_t, s = ratio(self.schedule, t.expand(len(x_t)), x_t)
        return self.denoise(x_t / alpha_t, s)

    def denoise(self, x: Tensor, s: Tensor) -> Tensor:
        """Denoise `x` `(B, C, L)` whose noise has standard deviation `s` `(B, 1, 1)`."""
        total = s**2 + self.sigma_data**2
        c_skip, c_out, c_in = self.sigma_data**2 / total, s * self.sigma_data / total.sqrt(), 1 / total.sqrt()
        return c_skip * x + c_out * self.network(c_in * x, s.flatten().log() / 4).to(x.dtype)

    def loss(self, x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
        """Return the per-sample weighted squared error, shape `(B,)`; at a perfect fit of white noise it is 1."""
        weight, error = self.errors(x, sigma, eps)
        return weight * error.square().mean(dim=tuple(range(1, x.ndim)))

    def errors(self, x: Tensor, sigma: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight of each sample's squared error, shape `(B,)`, and the error itself, the shape of `x`.

        The weight `(s^2 + sd^2) / (s sd)^2` makes every noise level count alike at initialisation.
        """
        s = expand(sigma, x)
        weight = (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2
        return weight, self.denoise(x + s * eps, s) - x
