"""A covariance of the data by its eigenvalues, for methods that need functions of it."""

from collections.abc import Callable

import torch
from torch import Tensor

from scoreda.diffusion.denoisers.base import eigen, non_negative, waves
from scoreda.diffusion.schedules import expand

__all__ = ["Eigenbasis"]


class Eigenbasis:
    """Functions of a covariance, applied to states.

    Args:
        covariance: Of the data the denoiser knows: a matrix `(n, n)` of flattened states, or the eigenvalues of a
            circulant one: `(L // 2 + 1,)` in the order of `rfft` for rings `(B, C, L)`, `(H, W // 2 + 1)` in that of
            `rfft2` for tori `(B, C, H, W)`. What is square is read as a matrix.

    Raises:
        ValueError: if it is neither, is not finite or symmetric, or has negative eigenvalues.
    """

    def __init__(self, covariance: Tensor) -> None:
        if covariance.ndim not in (1, 2):
            raise ValueError(
                "`covariance` must be a matrix (n, n), or the eigenvalues of a circulant one, (L // 2 + 1,) or "
                f"(H, W // 2 + 1), got shape {tuple(covariance.shape)}."
            )
        self.values: Tensor
        self.vectors: Tensor | None = None
        if covariance.ndim == 2 and len(covariance) == covariance.shape[1]:
            self.values, self.vectors = eigen(covariance, "covariance")
        else:
            self.values = non_negative(covariance, "covariance")

    def apply(self, gain: Callable[[Tensor, Tensor], Tensor], s: Tensor, v: Tensor) -> Tensor:
        """Return `Q gain(values, s) Q^T v` for states `v` `(B, *)`; `s` a scalar or `(B,)`.

        Raises:
            ValueError: if the covariance is of states of another size.
        """
        self._check(v)
        values = self.values.to(v)
        if self.vectors is None:
            sizes, axes = v.shape[-values.ndim :], tuple(range(-values.ndim, 0))
            return torch.fft.irfftn(torch.fft.rfftn(v, dim=axes) * gain(values, expand(s, v)), s=sizes, dim=axes)
        flat, Q = v.flatten(1), self.vectors.to(v)
        return (flat @ Q * gain(values, expand(s, flat)) @ Q.T).reshape(v.shape)

    def _check(self, v: Tensor) -> None:
        n, coefficients = v[0].numel(), waves(v, 1 if self.values.ndim == 1 else 2)
        if tuple(self.values.shape) != ((n,) if self.vectors is not None else coefficients):
            raise ValueError(
                f"`covariance` has eigenvalues {tuple(self.values.shape)}, but states {tuple(v.shape)} need a matrix "
                f"({n}, {n}), or the eigenvalues {coefficients} of a circulant one. Pass that of states of this size."
            )
