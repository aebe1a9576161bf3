"""A network under the preconditioning of EDM."""

from typing import Any

import torch
from torch import Tensor, nn

from scoreda.diffusion.denoisers.learned import LearnedDenoiser
from scoreda.diffusion.denoisers.weightings import edm
from scoreda.diffusion.schedules import Schedule, expand, ratio

__all__ = ["KarrasDenoiser"]


class KarrasDenoiser(LearnedDenoiser):
    r"""A network under EDM preconditioning: $\hat x = c_{skip} x + c_{out} F(c_{in} x; \tfrac14 \ln s)$.

    Works under any schedule: inputs are first rescaled to `x_t / alpha_t` with noise `s = sigma_t / alpha_t`.

    Args:
        network: Called as `network(x, c_noise)` with `x` `(B, C, L)` and `c_noise` `(B,)`.
        schedule: The schedule whose times `forward` is given.
        sigma_data: Standard deviation of the (normalised) data.

    Source: Karras et al. (2022), table 1, https://arxiv.org/abs/2206.00364
    """

    name = "karras"

    def __init__(self, network: nn.Module, schedule: Schedule, sigma_data: float = 1.0) -> None:
        super().__init__(network, schedule)
        self.sigma_data = float(sigma_data)

    def forward(self, x_t: Tensor, t: Tensor, **told: Tensor | None) -> Tensor:
        """Return the denoised states."""
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
        alpha_t, s = ratio(self.schedule, t.expand(len(x_t)), x_t)
        return self.denoise(x_t / alpha_t, s, **told)

    def denoise(self, x: Tensor, s: Tensor, **told: Tensor | None) -> Tensor:
        """Denoise `x` `(B, C, L)` whose noise has standard deviation `s` `(B, 1, 1)`."""
        total = s**2 + self.sigma_data**2
        c_skip, c_out, c_in = self.sigma_data**2 / total, s * self.sigma_data / total.sqrt(), 1 / total.sqrt()
        return c_skip * x + c_out * self.ask(c_in * x, s.flatten().log() / 4, **told)

    def errors(self, x: Tensor, ratio: Tensor, eps: Tensor, **told: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the weight of each sample's squared error, `(B,)`, and the error of the denoised state.

        The weight `(s^2 + sd^2) / (s sd)^2` makes every noise level count alike at initialisation: 1, for white data.
        """
        s = expand(ratio, x)
        return edm(ratio, self.sigma_data), self.denoise(x + s * eps, s, **told) - x

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the denoiser around a network and a schedule."""
        return dict(name=self.name, sigma_data=self.sigma_data)
