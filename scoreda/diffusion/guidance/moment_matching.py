r"""Moment-matching posterior sampling: the likelihood of the denoised state with its own covariance.

With $\hat x = E[x \mid x_t]$, $V = \mathrm{Cov}[x \mid x_t]$ and $H$ linearised at $\hat x$, the guided denoiser is the
Kalman update of $\hat x$,

$$ V = (\sigma_t^2 / \alpha_t)\, \partial \hat x / \partial x_t, $$

$$ \hat x_y = \hat x + V H^\top (R + H V H^\top)^{-1} (y - h(\hat x)). $$

Source: Rozet et al. (2024), Learning diffusion priors from observations by expectation maximization, eq. 20-21,
https://arxiv.org/abs/2405.13712
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vjp

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.guidance.observed import Observed
from scoreda.diffusion.schedules import ratio

__all__ = ["MomentMatching", "conjugate_gradient"]


class MomentMatching:
    r"""A denoiser of $p(x \mid x_t, y)$ that wraps a denoiser of $p(x \mid x_t)$.

    Args:
        denoiser: The prior.
        y: Observations, `(Ny,)` or `(B, Ny)`; NaN where missing.
        H: Operator from states `(B, *)` to `(B, Ny)`, differentiable by torch.
        R: Observation-error covariance: a scalar variance, variances `(Ny,)`, or a matrix `(Ny, Ny)`.
        iterations: Conjugate-gradient iterations of the Ny x Ny system; None solves to convergence.

    Exact when: the prior is Gaussian and `H` linear. A member's result never depends on the others in the batch.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        H: Callable[[Tensor], Tensor],
        R: Tensor | float,
        iterations: int | None = None,
    ) -> None:
        self.denoiser, self.schedule, self.iterations = denoiser, denoiser.schedule, iterations
        self.observed = Observed(y, H, R)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t, y] under the Gaussian approximation of p(x | x_t)."""
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device)
        alpha_t, s = ratio(self.schedule, t, x_t)
        scale = s**2 * alpha_t  # sigma_t^2 / alpha_t
        x_hat, pull = vjp(lambda x: self.denoiser(x, t), x_t)  # type: ignore[misc]
        y_hat, H_transpose = vjp(self.observed.predict, x_hat)  # type: ignore[misc]

        def V(v: Tensor) -> Tensor:
            return scale * pull(v)[0]  # the Jacobian of an exact denoiser is symmetric

        def gram(u: Tensor) -> Tensor:
            HVHu = jvp(self.observed.predict, (x_hat,), (V(H_transpose(u)[0]),))[1]
            return self.observed.multiply(u) + HVHu

        u = conjugate_gradient(gram, self.observed.residual(y_hat), self.iterations)
        return x_hat + V(H_transpose(u)[0])


def conjugate_gradient(
    A: Callable[[Tensor], Tensor], b: Tensor, iterations: int | None = None, tolerance: float = 1e-6
) -> Tensor:
    """Solve `A u = b` for every row of `b` `(B, n)`; each row stops changing once its residual is below tolerance.

    Rows never mix, so the answer for a row does not depend on the batch.
    """
    u, r = torch.zeros_like(b), b
    p, rr = r, r.square().sum(-1, keepdim=True)
    target = tolerance**2 * rr
    for _ in range(2 * b.shape[-1] if iterations is None else iterations):
        active = rr > target
        if not bool(active.any()):
            break
        Ap = A(p)
        curvature = (p * Ap).sum(-1, keepdim=True)
        # A network's Jacobian is not exactly positive; a row that meets negative curvature keeps what it has.
        active = active & (curvature > 0)
        step = torch.where(active, rr / curvature.where(active, torch.ones_like(curvature)), torch.zeros_like(rr))
        u, r = u + step * p, r - step * Ap
        new = torch.where(active, r.square().sum(-1, keepdim=True), torch.zeros_like(rr))
        p, rr = r + new / rr.clamp_min(torch.finfo(b.dtype).tiny) * p, new
    return u
