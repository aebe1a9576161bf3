"""Exact denoisers of Gaussians."""

import torch
from torch import Tensor

from scoreda.diffusion.denoisers.base import eigen, non_negative, require_like, waves
from scoreda.diffusion.schedules import Schedule, ratio

__all__ = ["CirculantGaussian", "GaussianDenoiser"]


class GaussianDenoiser:
    r"""The exact denoiser of $N(m, C)$: $\hat x = m + C (C + s^2)^{-1} (x_t / \alpha_t - m)$, computed by eigenvalues.

    Args:
        mean: Shape `(n,)`, n = C L of the flattened samples.
        cov: Shape `(n, n)`, symmetric positive semi-definite.
        schedule: Any schedule.

    Raises:
        ValueError: if `cov` is not a covariance, or not of the size of `mean`.
    """

    def __init__(self, mean: Tensor, cov: Tensor, schedule: Schedule) -> None:
        if cov.shape != (len(mean), len(mean)):
            raise ValueError(f"`cov` must have shape ({len(mean)}, {len(mean)}), got {tuple(cov.shape)}.")
        self.mean, self.schedule = mean, schedule
        self._values, self._vectors = eigen(cov, "cov")

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t], the shape of `x_t`."""
        require_like(x_t, self.mean)
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
        flat = x_t.flatten(1)
        alpha_t, s = ratio(self.schedule, t, flat)
        gain = self._values / (self._values + s**2)
        return (self.mean + ((flat / alpha_t - self.mean) @ self._vectors * gain) @ self._vectors.T).reshape(x_t.shape)


class CirculantGaussian:
    r"""The exact denoiser of a homogeneous Gaussian field on a ring, diagonal in Fourier space (a Wiener filter).

    A spectrum of two axes is that of a field on a torus.

    Args:
        mean: The field's mean, a scalar.
        spectrum: Eigenvalues of the circulant covariance, shape `(L // 2 + 1,)` in `rfft` order, or `(H, W // 2 + 1)`
            in that of `rfft2`.
        schedule: Any schedule.

    Raises:
        ValueError: if an eigenvalue is negative or not finite.
    """

    def __init__(self, mean: float, spectrum: Tensor, schedule: Schedule) -> None:
        self.mean, self.spectrum, self.schedule = float(mean), non_negative(spectrum, "spectrum"), schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t] for `x_t` `(B, C, L)` or `(B, C, H, W)`.

        Raises:
            ValueError: if states and spectrum are of different sizes or precisions.
        """
        self._check(x_t)
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
        alpha_t, s = ratio(self.schedule, t, x_t)
        gain = self.spectrum / (self.spectrum + s**2)
        sizes = x_t.shape[-self.spectrum.ndim :]
        axes = tuple(range(-len(sizes), 0))
        wave = torch.fft.rfftn(x_t / alpha_t - self.mean, dim=axes)
        return self.mean + torch.fft.irfftn(wave * gain, s=sizes, dim=axes)

    def _check(self, x_t: Tensor) -> None:
        wanted = (waves(x_t, self.spectrum.ndim), x_t.dtype, x_t.device)
        own = (tuple(self.spectrum.shape), self.spectrum.dtype, self.spectrum.device)
        if wanted != own:
            raise ValueError(
                f"states {tuple(x_t.shape)}, {x_t.dtype} on {x_t.device}, need a spectrum {wanted[0]} like them, got "
                f"{own[0]}, {own[1]} on {own[2]}. Build the denoiser from the spectrum of states of this size."
            )
