"""A covariance of the data by its eigenvalues, for methods that need functions of it."""

from collections.abc import Callable

import torch
from torch import Tensor

from scoreda.diffusion.denoisers.base import non_negative
from scoreda.diffusion.schedules import expand

__all__ = ["Eigenbasis"]


class Eigenbasis:
    """Functions of a covariance, applied to states.

    Args:
        covariance: Of the data the denoiser knows: `(n, n)` of flattened states, or the eigenvalues `(L // 2 + 1,)`, in
            `rfft` order, of a circulant one on the last axis.

    Raises:
        ValueError: if it is neither, or has negative eigenvalues.
    """

    def __init__(self, covariance: Tensor) -> None:
        if covariance.ndim not in (1, 2) or covariance.ndim == 2 and len(covariance) != covariance.shape[1]:
            raise ValueError(
                "`covariance` must be a matrix (n, n) or the rfft eigenvalues (L // 2 + 1,) of a circulant one, "
                f"got shape {tuple(covariance.shape)}."
            )
        self.values: Tensor = covariance
        self.vectors: Tensor | None = None
        if covariance.ndim == 2:
            self.values, self.vectors = torch.linalg.eigh(covariance)
        self.values = non_negative(self.values, "covariance")

    def apply(self, gain: Callable[[Tensor, Tensor], Tensor], s: Tensor, v: Tensor) -> Tensor:
        """Return `Q gain(values, s) Q^T v` for states `v` `(B, *)`; `s` a scalar or `(B,)`."""
        if self.vectors is None:
            wave = torch.fft.rfft(v)
            return torch.fft.irfft(wave * gain(self._values_for(wave), expand(s, v)).to(v), n=v.shape[-1])
        flat, Q = v.flatten(1), self.vectors.to(v)
        return (flat @ Q * gain(self._values_for(flat).to(v), expand(s, flat)) @ Q.T).reshape(v.shape)

    def _values_for(self, coefficients: Tensor) -> Tensor:
        if coefficients.shape[-1] != len(self.values):
            raise ValueError(
                f"`covariance` has {len(self.values)} eigenvalues but the states have {coefficients.shape[-1]} "
                "coefficients. Pass the covariance of states of this size."
            )
        return self.values.to(coefficients.device)
