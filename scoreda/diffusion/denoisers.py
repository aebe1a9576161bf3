r"""Denoisers: $\hat x(x_t, t) = E[x \mid x_t]$, learned or exact.

A denoiser is anything that is called as `denoiser(x_t, t)` and carries its `schedule`. The score follows from it,
$\nabla \log p(x_t) = (\alpha_t \hat x - x_t) / \sigma_t^2$ (Tweedie). A guidance method is a denoiser that wraps one.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from scoreda.diffusion.schedules import Schedule, expand

__all__ = ["CirculantGaussian", "Denoiser", "GaussianDenoiser", "KarrasDenoiser", "ratio"]


class Denoiser(Protocol):
    """`denoiser(x_t, t) -> x_hat`, all of shape `(B, *)`; `t` a scalar or `(B,)`."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t]."""
        ...


def ratio(schedule: Schedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return `alpha_t` and the noise-to-signal ratio `sigma_t / alpha_t`, shaped to broadcast against `x`."""
    alpha_t = schedule.alpha(t)
    return expand(alpha_t, x), expand(schedule.sigma(t) / alpha_t, x)


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
        """Return the per-sample weighted squared error, shape `(B,)`; at a perfect fit of white noise it is 1.

        The weight `(s^2 + sd^2) / (s sd)^2` makes every noise level count alike at initialisation.
        """
        s = expand(sigma, x)
        weight = (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2
        return weight * (self.denoise(x + s * eps, s) - x).square().mean(dim=tuple(range(1, x.ndim)))


class GaussianDenoiser:
    r"""The exact denoiser of $N(m, C)$: $\hat x = m + C (C + s^2)^{-1} (x_t / \alpha_t - m)$, computed by eigenvalues.

    Args:
        mean: Shape `(n,)`, n = C L of the flattened samples.
        cov: Shape `(n, n)`, symmetric positive semi-definite.
        schedule: Any schedule.
    """

    def __init__(self, mean: Tensor, cov: Tensor, schedule: Schedule) -> None:
        if cov.shape != (len(mean), len(mean)):
            raise ValueError(f"`cov` must have shape ({len(mean)}, {len(mean)}), got {tuple(cov.shape)}.")
        self.mean, self.schedule = mean, schedule
        self._values, self._vectors = torch.linalg.eigh(cov)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t], the shape of `x_t`."""
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
        flat = x_t.flatten(1)
        alpha_t, s = ratio(self.schedule, t, flat)
        w = self._values.clamp_min(0)
        gain = w / (w + s**2)
        return (self.mean + ((flat / alpha_t - self.mean) @ self._vectors * gain) @ self._vectors.T).reshape(x_t.shape)


class CirculantGaussian:
    r"""The exact denoiser of a homogeneous Gaussian field on a ring, diagonal in Fourier space (a Wiener filter).

    Args:
        mean: The field's mean, a scalar.
        spectrum: Eigenvalues of the circulant covariance, shape `(L // 2 + 1,)`, in `rfft` order.
        schedule: Any schedule.
    """

    def __init__(self, mean: float, spectrum: Tensor, schedule: Schedule) -> None:
        self.mean, self.spectrum, self.schedule = float(mean), spectrum, schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t] for `x_t` `(B, C, L)`."""
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
        alpha_t, s = ratio(self.schedule, t, x_t)
        gain = self.spectrum / (self.spectrum + s**2)
        wave = torch.fft.rfft(x_t / alpha_t - self.mean)
        return self.mean + torch.fft.irfft(wave * gain, n=x_t.shape[-1])
