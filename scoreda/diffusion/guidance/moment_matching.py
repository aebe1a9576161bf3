r"""Moment-matching posterior sampling: the likelihood of the denoised state with its own covariance.

With $\hat x = E[x \mid x_t]$, $V = \mathrm{Cov}[x \mid x_t]$ and $H$ linearised at $\hat x$, the guided denoiser is the
Kalman update of $\hat x$,

$$ V = (\sigma_t^2 / \alpha_t)\, \partial \hat x / \partial x_t, $$

$$ \hat x_y = \hat x + V H^\top (R + H V H^\top)^{-1} (y - h(\hat x)). $$

Source: Rozet et al. (2024), Learning diffusion priors from observations by expectation maximization, eq. 20-21,
https://arxiv.org/abs/2405.13712
"""

from collections.abc import Callable

from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.guidance.base import Guidance, Linearised
from scoreda.diffusion.guidance.solvers import solver_by_name

__all__ = ["MomentMatching"]


class MomentMatching(Guidance):
    r"""A denoiser of $p(x \mid x_t, y)$ that wraps a denoiser of $p(x \mid x_t)$.

    Args:
        denoiser: The prior.
        y: Observations, `(Ny,)` or `(B, Ny)`; NaN where missing.
        H: Operator from states `(B, *)` to `(B, Ny)`, differentiable by torch.
        R: Observation-error covariance: a scalar variance, variances `(Ny,)`, or a matrix `(Ny, Ny)`.
        iterations: Iterations of the Ny x Ny system, one product with V each; None solves to convergence.
        solver: "cg"; "gmres", for a network whose Jacobian is far from symmetric; or "exact", at Ny products.
        weight: As for every `Guidance`.

    Exact when: the prior is Gaussian and `H` linear. A member's result never depends on the others in the batch.
    """

    name = "moment_matching"

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        H: Callable[[Tensor], Tensor],
        R: Tensor | float,
        iterations: int | None = None,
        solver: str = "cg",
        weight: float = 1.0,
    ) -> None:
        super().__init__(denoiser, y, H, R, weight)
        self.solver = solver_by_name(solver, iterations)

    def guide(self, at: Linearised) -> Tensor:
        """Return E[x | x_t, y] under the Gaussian approximation of p(x | x_t)."""
        return at.x_hat + at.update(at.V, self.solver)
