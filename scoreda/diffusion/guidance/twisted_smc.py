r"""Twisted diffusion sampler: guidance as the proposal of a particle filter, whose weights undo its bias.

Each of N particles takes ancestral steps with a guided denoiser. The twist is a guess at $p(y \mid x_t)$,

$$ \tilde p(y \mid x_t) = N(y;\ h(\hat x),\ R + H V H^\top), \quad V = (\sigma_t^2 / \alpha_t)\,
   \partial \hat x / \partial x_t, $$

(without $H V H^\top$ in the paper) and steers the proposal, $\hat x_y = \hat x + (\sigma_t^2 / \alpha_t) \nabla_{x_t}
\log \tilde p(y \mid x_t)$. A step multiplies the weights by

$$ \frac{p(x_s \mid x_t)\, \tilde p(y \mid x_s)}{q(x_s \mid x_t, y)\, \tilde p(y \mid x_t)}, $$

and the last twist is the likelihood itself, so that whatever the guesses were the weighted particles are draws of the
posterior as N grows.

Source: Wu et al. (2023), Practical and asymptotically exact conditional sampling in diffusion models, algorithm 1,
https://arxiv.org/abs/2306.17775
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.guidance.base import Linearised
from scoreda.diffusion.guidance.observed import Observed
from scoreda.diffusion.guidance.particles import Particles, effective_size, log_mean, systematic
from scoreda.diffusion.samplers.base import require_generator
from scoreda.diffusion.schedules import Schedule, expand, transition, white_noise
from scoreda.errors import require_numbers

__all__ = ["TwistedSMC"]


class Swarm(NamedTuple):
    """All particles at one time, and what one evaluation of the denoiser says of them."""

    x: Tensor  # (N, *)
    x_hat: Tensor  # (N, *)
    x_hat_y: Tensor  # (N, *), guided by the twist
    log_twist: Tensor  # (N,)
    log_w: Tensor  # (N,)


class TwistedSMC:
    """A sampler of p(x | y) by particles that carry weights; the batch is the ensemble of particles.

    Args:
        denoiser: The prior.
        y: Observations, `(Ny,)`; NaN where missing.
        H: Operator from states `(N, *)` to `(N, Ny)`, differentiable by torch.
        R: Observation-error covariance: a scalar variance, variances `(Ny,)`, or a matrix `(Ny, Ny)`.
        generator: Of the steps' noise and of resampling.
        steps: Ancestral steps; their error, of order 1 / steps, is what remains as N grows.
        moments: Whether the twist carries H V H^T, at Ny products with the Jacobian of the denoiser a step. Without it,
            as in the paper, the guesses are too sure of themselves at large noise and few particles survive.
        spread: Standard deviation of the white data for which steps of the prior are exact at any size; 0 for data that
            lie on a few points.
        threshold: Resample where the effective sample size falls below this fraction of N; 0 never does.

    Exact when: N and `steps` are large, for any prior and operator.

    Raises:
        ValueError: if `y` is not one vector, `steps` or `threshold` are out of range, or `generator` is none.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        H: Callable[[Tensor], Tensor],
        R: Tensor | float,
        generator: torch.Generator,
        steps: int = 100,
        moments: bool = True,
        spread: float = 1.0,
        threshold: float = 0.5,
    ) -> None:
        self.denoiser, self.schedule, self.observed = denoiser, denoiser.schedule, Observed(y, H, R)
        _check(y, steps, threshold)
        require_generator(generator)
        self.generator, self.steps, self.threshold = generator, steps, threshold
        self.moments, self.spread = moments, spread

    def __call__(self, x: Tensor) -> Tensor:
        """Return draws of equal weight from noise `x` `(N, *)` at t = 1."""
        return self.run(x).equal(self.generator)

    @torch.no_grad()
    def run(self, x: Tensor) -> Particles:
        """Return weighted particles from noise `x` `(N, *)` at t = 1."""
        times = torch.linspace(1.0, 0.0, self.steps, dtype=torch.float64).to(x)
        swarm, log_evidence, ess = self._start(x, times[0]), 0.0, []
        for t, s in zip(times[:-1], times[1:], strict=True):
            ess.append(effective_size(swarm.log_w))
            if ess[-1] < self.threshold * len(x):
                log_evidence += log_mean(swarm.log_w)
                swarm = self._resample(swarm)
            swarm = self._step(swarm, t, s)
        ess.append(effective_size(swarm.log_w))
        return Particles(
            swarm.x_hat, swarm.log_w.log_softmax(0), torch.stack(ess), log_evidence + log_mean(swarm.log_w)
        )

    def _start(self, x: Tensor, t: Tensor) -> Swarm:
        x_hat, x_hat_y, log_twist = self._twist(x, t)
        return _without_lost(Swarm(x, x_hat, x_hat_y, log_twist, log_w=log_twist))

    def _resample(self, swarm: Swarm) -> Swarm:
        index = systematic(swarm.log_w, self.generator)
        return Swarm(*(part[index] for part in swarm))._replace(log_w=torch.zeros_like(swarm.log_w))

    def _step(self, swarm: Swarm, t: Tensor, s: Tensor) -> Swarm:
        """Carry particles from `t` to the earlier `s`; prior and proposal are Gaussians that differ by a shift."""
        keep, gain, std = reverse_kernel(self.schedule, t, s, self.spread)
        eps = white_noise(swarm.x, self.generator)
        x_s = keep * swarm.x + gain * swarm.x_hat_y + std * eps
        shift = gain * (swarm.x_hat_y - swarm.x_hat) / std
        log_p_over_q = -(shift * eps + shift.square() / 2).flatten(1).sum(1)
        x_hat, x_hat_y, log_twist = self._twist(x_s, s)
        log_w = swarm.log_w + log_p_over_q + log_twist - swarm.log_twist
        return _without_lost(Swarm(x_s, x_hat, x_hat_y, log_twist, log_w))

    def _twist(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the denoised states, the guided ones and the log twist of each; at t = 0 it is the likelihood."""
        at = Linearised(self.denoiser, self.observed, x_t, t, jacobian=True)
        C = self.observed.covariance()
        if self.moments and t > 0:
            R = C.diag() if C.ndim == 1 else C
            columns = [at.H(at.V(at.H_transpose(e.expand_as(at.residual)))) for e in torch.eye(len(R)).to(R)]
            C = R + positive_part(torch.stack(columns, dim=-1))
        log_twist, u = log_normal(at.residual, C, int(self.observed.present.sum()))
        return at.x_hat, at.x_hat + at.V(at.H_transpose(u)), log_twist


def reverse_kernel(schedule: Schedule, t: Tensor, s: Tensor, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return `keep`, `gain` and `std` of $p(x_s \mid x_t) = N(keep\, x_t + gain\, \hat x, std^2)$ for `s < t`.

    The variance is that for a known x, plus `gain`^2 times the variance that white data of standard deviation `spread`
    have given x_t. Ho et al. (2020), section 3.2, names the two ends: `spread` 0, and 1.
    """
    factor, tau = transition(schedule, s, t)
    alpha_t, v_t, v_s = schedule.alpha(t), schedule.sigma(t) ** 2, schedule.sigma(s) ** 2
    gain = schedule.alpha(s) * tau**2 / v_t
    unknown = spread**2 * v_t / (alpha_t**2 * spread**2 + v_t)
    return factor * v_s / v_t, gain, (tau**2 * v_s / v_t + gain**2 * unknown).sqrt()


def log_normal(residual: Tensor, C: Tensor, present: int) -> tuple[Tensor, Tensor]:
    """Return ln N(residual; 0, C) `(N,)`, counting `present` values, and C^-1 residual; `C` variances or matrices.

    Both are NaN where a matrix has overflowed so far that nothing is left of its root.
    """
    if C.ndim == 1:
        u, log_det = residual / C, C.log().sum()
    else:
        chol, failed = torch.linalg.cholesky_ex(C)
        u = torch.cholesky_solve(residual[..., None], chol)[..., 0]
        log_det = 2 * chol.diagonal(dim1=-2, dim2=-1).log().sum(-1).where(failed == 0, torch.nan)
    return -((residual * u).sum(-1) + log_det + present * math.log(2 * math.pi)) / 2, u


def positive_part(C: Tensor) -> Tensor:
    """Return the nearest covariances to matrices `(N, n, n)`: the Jacobian of a network is not exactly one.

    NaN for those that are not finite, which would have no eigenvalues.
    """
    finite = C.isfinite().all(-1).all(-1)[:, None, None]
    w, Q = torch.linalg.eigh(torch.where(finite, (C + C.mT) / 2, 0))
    return ((Q * w.clamp_min(0)[..., None, :]) @ Q.mT).where(finite, torch.nan)


def _without_lost(swarm: Swarm) -> Swarm:
    """Give particles that have run away no weight, and a finite place until resampling ends them.

    A learned denoiser is arbitrary far from its data; one such particle must not be the end of all.
    """
    lost = ~(swarm.log_w.isfinite() & swarm.x_hat_y.isfinite().flatten(1).all(1))
    if bool(lost.all()):
        raise ValueError(
            "the particles are not finite any more: the guided steps ran away. Pass moments=True, or more steps."
        )
    zero = lambda part: torch.where(expand(lost, part), 0, part)
    x, x_hat, x_hat_y, log_twist, log_w = map(zero, swarm)
    return Swarm(x, x_hat, x_hat_y, log_twist, log_w.where(~lost, -math.inf))


def _check(y: Tensor, steps: int, threshold: float) -> None:
    if y.ndim != 1:
        raise ValueError(f"`y` must be one vector (Ny,), got shape {tuple(y.shape)}: the batch is the particles.")
    require_numbers(whole=True, steps=steps)
    if steps < 2 or not 0 <= threshold <= 1:
        raise ValueError(
            f"need steps >= 2 and a threshold in [0, 1], got steps={steps}, threshold={threshold}. Try 100 and 0.5."
        )
