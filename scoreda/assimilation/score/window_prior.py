r"""The prior of a window's start state, as Gauss-Newton sees it: a gradient and a precision at a noise level.

At noise `sigma` the learned prior is smoothed to $p_\sigma = p * N(0, \sigma^2)$. Its score is
$(\hat x - x) / \sigma^2$ and its precision $(I - \partial \hat x / \partial x) / \sigma^2$ (Tweedie). Lowering `sigma`
anneals from the nearly Gaussian climate to the attractor. States may be NumPy arrays or tensors; what is returned is
of the same kind.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from scoreda.assimilation.score.symmetric import Symmetric
from scoreda.datasets import Climatology
from scoreda.diffusion import LearnedDenoiser, Prior
from scoreda.diffusion.threads import one_thread
from scoreda.observations.arrays import Array, host, library

__all__ = ["GaussianWindowPrior", "LearnedWindowPrior", "WindowPrior"]


class WindowPrior(Protocol):
    """What Score-4D asks of a prior. `evaluations` counts network evaluations so far."""

    scale: float
    evaluations: int

    def starts(self, number: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return states `(number, size)` from which to search: the mean, then draws from the prior."""
        ...

    def score(self, x: Array, sigma: float) -> Array:
        """Return the gradient of log p_sigma at `x` `(Nx,)`."""
        ...

    def precision(self, x: Array, sigma: float) -> Array:
        """Return the positive part of minus the Hessian of log p_sigma at `x`, `(Nx, Nx)`."""
        ...


class LearnedWindowPrior:
    """The prior of a denoising network."""

    def __init__(self, prior: Prior) -> None:
        self.prior, self.scale, self.evaluations = prior, prior.normaliser.std, 0

    def starts(self, number: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return the mean and draws from the diffusion model, whose seed comes from `rng`."""
        self.evaluations += (number - 1) * 63
        draws = self.prior.sample(number - 1, size, seed=int(rng.integers(2**63)), steps=32)
        return np.concatenate([np.full((1, size), self.prior.normaliser.mean), draws])

    @one_thread()
    def score(self, x: Array, sigma: float) -> Array:
        """Return (x_hat - x) / sigma^2."""
        self.evaluations += 1
        prior = self.prior
        rows = prior.tensor(x[None])
        with torch.no_grad():
            x_hat = prior.denoiser.denoise(rows, self._level(sigma, rows))[0, 0]
        return (prior.normaliser.invert(_as(x_hat, x)) - x) / sigma**2

    @one_thread()
    def precision(self, x: Array, sigma: float) -> Array:
        """Return (I - d x_hat / d x) / sigma^2, symmetrised; eigenvalues below a tenth of the
        climate's precision (where p is not concave) are raised to it.
        """
        size = len(x)
        self.evaluations += size
        denoiser = self._differentiable
        rows = self.prior.tensor(library(x).broadcast_to(x, (size, size))).to(next(denoiser.parameters()).dtype)
        eye = torch.eye(size, dtype=rows.dtype, device=rows.device)
        # Row i of the batch differentiates output i: one backward pass gives the whole Jacobian.
        with torch.enable_grad():
            x_hat = denoiser.denoise(rows.requires_grad_(True), self._level(sigma, rows))
            (jacobian,) = torch.autograd.grad(x_hat[:, 0], rows, eye)
        rest = _as(eye.double() - jacobian[:, 0].double(), x)
        return Symmetric.of(rest / sigma**2, floor=0.1 / self.scale**2).matrix

    @cached_property
    def _differentiable(self) -> LearnedDenoiser:
        """Return the denoiser, in double precision on CUDA: there convolutions of single precision are in TF32 unless
        forbidden, whose rounding is as large as I - J along the attractor.
        """
        denoiser = self.prior.denoiser
        return deepcopy(denoiser).double() if self.prior.device.type == "cuda" else denoiser

    def _level(self, sigma: float, rows: Tensor) -> Tensor:
        """Return the normalised noise level of every row."""
        return rows.new_full((len(rows), 1, 1), sigma / self.prior.normaliser.std)


def _as(tensor: Tensor, x: Array) -> Array:
    """Return a tensor in double precision as what `x` is."""
    return tensor.double().to(x.device) if isinstance(x, Tensor) else host(tensor.double())


class GaussianWindowPrior:
    """A climatological Gaussian, for controlled comparisons with the learned prior; not annealed.

    Args:
        climatology: Gives mean and covariance.
        device: Where states are tensors; None for states of NumPy.
    """

    def __init__(self, climatology: Climatology, device: torch.device | None = None) -> None:
        self.climatology, self.evaluations = climatology, 0
        self.scale = float(np.sqrt(np.trace(climatology.cov) / len(climatology.mean)))
        place: Callable[[np.ndarray], Array] = np.asarray if device is None else partial(torch.as_tensor, device=device)
        self.mean, self.inverse = place(climatology.mean), place(np.linalg.inv(climatology.cov))

    def starts(self, number: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return the mean and draws from the Gaussian."""
        mean, cov = self.climatology.mean, self.climatology.cov
        return np.concatenate([mean[None], rng.multivariate_normal(mean, cov, size=number - 1, method="cholesky")])

    def score(self, x: Array, sigma: float) -> Array:
        """Return -C^-1 (x - m)."""
        return -self.inverse @ (x - self.mean)

    def precision(self, x: Array, sigma: float) -> Array:
        """Return C^-1."""
        return self.inverse
