"""What every denoiser is, and the score that follows from it."""

import math
from typing import Protocol

import torch
from torch import Tensor

from scoreda.diffusion.schedules import Schedule, expand

__all__ = ["Denoiser", "eigen", "non_negative", "require_like", "score", "waves"]


class Denoiser(Protocol):
    """`denoiser(x_t, t) -> x_hat`, all of shape `(B, *)`; `t` a scalar or `(B,)`."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t]."""
        ...


def score(denoiser: Denoiser, x_t: Tensor, t: Tensor | float) -> Tensor:
    r"""Return $\nabla \log p(x_t) = (\alpha_t \hat x - x_t) / \sigma_t^2$ (Tweedie), the shape of `x_t` `(B, *)`."""
    t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
    alpha_t, sigma_t = expand(denoiser.schedule.alpha(t), x_t), expand(denoiser.schedule.sigma(t), x_t)
    return (alpha_t * denoiser(x_t, t) - x_t) / sigma_t**2


def require_like(x_t: Tensor, reference: Tensor) -> None:
    """Refuse states that are not of the size, dtype and device of an exact denoiser's own tensors `(..., n)`.

    Raises:
        ValueError: if they differ.
    """
    own = (reference.shape[-1], reference.dtype, reference.device)
    found = (math.prod(x_t.shape[1:]), x_t.dtype, x_t.device)
    if found != own:
        raise ValueError(
            f"states of {found[0]} variables, {found[1]} on {found[2]}, do not fit a denoiser of {own[0]} variables, "
            f"{own[1]} on {own[2]}. Build it from tensors like the states, or pass states.to({own[1]})."
        )


def non_negative(values: Tensor, name: str) -> Tensor:
    """Return the eigenvalues of a covariance without the small negative ones that rounding makes of zeros.

    Raises:
        ValueError: if one is negative beyond rounding, or not finite.
    """
    if not bool(values.isfinite().all()):
        raise ValueError(f"`{name}` holds NaN or Inf. Pass the covariance of data without gaps.")
    if bool((values < -1e-5 * values.abs().max()).any()):
        raise ValueError(
            f"`{name}` has a negative eigenvalue, {float(values.min()):.3g}, so it is not a covariance. "
            "Pass the covariance of the data."
        )
    return values.clamp_min(0)


def eigen(C: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return eigenvalues `(..., n)` and eigenvectors `(..., n, n)` of covariances `(..., n, n)`.

    Raises:
        ValueError: if one is not finite, not symmetric, or has a negative eigenvalue, beyond rounding.
    """
    if not bool(C.isfinite().all()):
        raise ValueError(f"`{name}` holds NaN or Inf. Pass the covariance of data without gaps.")
    if bool((C - C.mT).abs().max() > 1e-5 * C.abs().max()):
        raise ValueError(f"`{name}` must be symmetric, and is not. Pass (C + C.T) / 2 if that is what is meant.")
    values, vectors = torch.linalg.eigh(C)
    return non_negative(values, name), vectors


def waves(x: Tensor, axes: int) -> tuple[int, ...]:
    """Return the shape of the real Fourier coefficients of states `(B, C, *space)`, whose space should have `axes`."""
    *full, last = x.shape[min(2, x.ndim - axes) :]
    return (*full, last // 2 + 1)
