r"""What the guidance methods share: one form of update, and the quantities it is made of.

With $\hat x = E[x \mid x_t]$, the residual $r = y - h(\hat x)$ and $H$ linearised at $\hat x$, every method here reads

$$ \hat x_y = \hat x + V H^\top u, \qquad u = C^{-1} r, $$

that is, it adds $g = H^\top$-weighted observations to the score, $\hat x_y = \hat x + (\sigma_t^2 / \alpha_t) g$. The
methods differ in the covariance V they give the denoised state and in the C they take for $R + H V H^\top$. The true V
is $(\sigma_t^2 / \alpha_t)\, \partial \hat x / \partial x_t$.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import jvp, vjp

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.guidance.observed import Observed
from scoreda.diffusion.guidance.solvers import Product, Solver, conjugate_gradient
from scoreda.diffusion.schedules import expand

__all__ = ["Guidance", "Linearised"]


class Linearised:
    """The prior's estimate at `x_t`, what the observations say of it, and the derivatives there.

    Attributes:
        x_hat: E[x | x_t], shape `(B, *)`.
        residual: y - h(x_hat), shape `(B, Ny)`.
        alpha_t: Signal scale, a scalar or `(B,)`.
        s: Noise-to-signal ratio sigma_t / alpha_t, likewise.
    """

    def __init__(self, denoiser: Denoiser, observed: Observed, x_t: Tensor, t: Tensor, jacobian: bool) -> None:
        observed.check(x_t)
        self.observed, self.t = observed, t
        self.alpha_t = denoiser.schedule.alpha(t)
        self.s = denoiser.schedule.sigma(t) / self.alpha_t
        if jacobian:
            self.x_hat, self._pull = vjp(lambda x: denoiser(x, t), x_t)  # type: ignore[misc]
        else:
            self.x_hat = denoiser(x_t, t)
        y_hat, self._pull_observed = vjp(observed.predict, self.x_hat)  # type: ignore[misc]
        self.residual = observed.residual(y_hat)

    def V(self, v: Tensor) -> Tensor:
        """Return Cov[x | x_t] v by one product with the denoiser's Jacobian, symmetric for an exact denoiser."""
        return expand(self.s**2 * self.alpha_t, v) * self._pull(v)[0]

    def H(self, v: Tensor) -> Tensor:
        """Return H v `(B, Ny)` of states `v` `(B, *)`."""
        return jvp(self.observed.predict, (self.x_hat,), (v,))[1]

    def H_transpose(self, u: Tensor) -> Tensor:
        """Return H^T u `(B, *)` of `u` `(B, Ny)`."""
        return self._pull_observed(u)[0]

    def weigh(self, added: Tensor | float = 0.0) -> Tensor:
        """Return (R + diag(added))^-1 (y - h(x_hat)); `added` a scalar, `(B,)` or `(B, Ny)`."""
        return self.observed.solve(self.residual, expand(torch.as_tensor(added), self.residual))

    def solve(self, V: Product, solver: Solver = conjugate_gradient) -> Tensor:
        """Return (R + H V H^T)^-1 (y - h(x_hat)) for a covariance known by its products with states."""
        return solver(lambda u: self.observed.multiply(u) + self.H(V(self.H_transpose(u))), self.residual)

    def update(self, V: Product, solver: Solver = conjugate_gradient) -> Tensor:
        """Return the Kalman update V H^T (R + H V H^T)^-1 (y - h(x_hat)), which costs the products of the solver."""

        def product(u: Tensor) -> Tensor:
            v = V(self.H_transpose(u))
            return torch.cat([self.observed.multiply(u) + self.H(v), v.flatten(1)], dim=1)

        return solver(product, self.residual)[:, self.residual.shape[1] :].reshape(self.x_hat.shape)


class Guidance(ABC):
    """A denoiser of p(x | x_t, y) that wraps a denoiser of p(x | x_t); a method gives `guide`.

    A member's result never depends on the others in the batch, and no autograd graph outlives a call under `no_grad`.

    Args:
        denoiser: The prior.
        y: Observations, `(Ny,)` or `(B, Ny)`; NaN where missing.
        H: Operator from states `(B, *)` to `(B, Ny)` (or what flattens to that), differentiable by torch.
        R: Observation-error covariance: a scalar variance, variances `(Ny,)`, or a matrix `(Ny, Ny)`.
        weight: Power of the likelihood, p(x | y) ~ p(x) p(y | x)^weight, that is R / weight. Anything but 1 tempers the
            posterior, and is to be reported as tempering: it is no cure for a method's bias.

    Raises:
        ValueError: if `weight` or `R` is not positive, or shapes or dtypes disagree.
    """

    name: ClassVar[str]
    jacobian: ClassVar[bool] = True  # whether `guide` asks for V, which costs products with the denoiser's Jacobian

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        H: Callable[[Tensor], Tensor],
        R: Tensor | float,
        weight: float = 1.0,
    ) -> None:
        if not weight > 0:
            raise ValueError(f"`weight` must be positive, got {weight}. 1 is the posterior itself.")
        self.denoiser, self.schedule, self.weight = denoiser, denoiser.schedule, weight
        self.observed = Observed(y, H, R, weight)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the method's estimate of E[x | x_t, y], the shape of `x_t` `(B, *)`; `t` a scalar or `(B,)`."""
        return self.guide(self.linearise(x_t, t))

    def linearise(self, x_t: Tensor, t: Tensor) -> Linearised:
        """Return the prior's estimate at `x_t` and what `guide` needs beside it."""
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
        return Linearised(self.denoiser, self.observed, x_t, t, self.jacobian)

    @abstractmethod
    def guide(self, at: Linearised) -> Tensor:
        """Return the method's estimate of E[x | x_t, y]."""
