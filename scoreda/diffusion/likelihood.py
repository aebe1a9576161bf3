r"""The log-likelihood of data under a diffusion prior, by the change of variables along the probability-flow ODE.

With $s = \sigma / \alpha$, $\lambda = -\ln s$ and $\tau = \mathrm{tr}\, \partial (\alpha \hat x) / \partial x_t$, which
counts the variables that stand out of the noise, the density at t = 0 of n variables is

$$ \ln p(x) = -\tfrac{n}{2} \ln(2 \pi s_0^2) - \tfrac12 \lVert x_1 / \sigma_1 \rVert^2
   + \int_{\lambda_0}^{\lambda_1} \tau\, d\lambda $$

where $x_1$ is where the flow takes $\alpha_0 x$.

Source: Song et al. (2021), appendix D.2, https://arxiv.org/abs/2011.13456; the trace by probes: Grathwohl et al.
(2019), FFJORD, https://arxiv.org/abs/1810.01367
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.func import vjp

from scoreda.diffusion.denoisers import Denoiser
from scoreda.diffusion.samplers import HeunSampler, Spacing
from scoreda.diffusion.schedules import log_snr
from scoreda.errors import suggest

__all__ = ["LogLikelihood", "invert", "log_likelihood"]


@dataclass(frozen=True)
class LogLikelihood:
    """Log densities of a batch.

    Attributes:
        nats: Shape `(B,)`.
        standard_error: Of `nats`, from the spread between probes, `(B,)`; 0 for the exact trace, NaN for one probe. The
            error of the finite steps is not in it.
        dimensions: Number of variables of a sample.
    """

    nats: Tensor
    standard_error: Tensor
    dimensions: int

    @property
    def bits_per_dimension(self) -> Tensor:
        """Negative log-likelihood per variable in bits, shape `(B,)`; of a density, so in the units of the data."""
        return -self.nats / (self.dimensions * math.log(2))


@torch.no_grad()
def invert(
    denoiser: Denoiser, x: Tensor, steps: int = 64, end: float = 1.0, spacing: Spacing | str = "uniform"
) -> Tensor:
    """Carry states `x` `(B, *)` at t = 0 up the probability-flow ODE to time `end` by Heun's method.

    A sampler started there and with `final="none"` returns to `x`, to second order in the step.
    """
    for _, x_t in _flow(denoiser, x, steps, end, spacing):
        x_end = x_t
    return x_end


@torch.no_grad()
def log_likelihood(
    denoiser: Denoiser,
    x: Tensor,
    steps: int = 64,
    trace: str = "exact",
    probes: int = 8,
    generator: torch.Generator | None = None,
    spacing: Spacing | str = "log_snr",
) -> LogLikelihood:
    r"""Return the log density of `x` `(B, *)` under the denoiser's prior.

    It is the density of the data with the noise of t = 0 added, $x + s_0 \epsilon$, which is smooth even where the
    data's own is not, and of a flow that starts from the sampler's noise, $N(0, \sigma_1^2)$ at t = 1; the signal that
    is left there costs an error of the order of $\alpha_1 / \sigma_1$. The error of the steps is of second order. On
    eight correlated Gaussian variables 64 steps are off by .02 nats under VPCosine, 256 by .005.

    Args:
        denoiser: Any denoiser whose rows do not depend on each other, guided or not.
        x: Data, in the units the denoiser was made for.
        steps: Heun steps from t = 0 to 1.
        trace: "exact" takes one backward pass for each variable and step, "hutchinson" one for each probe.
        probes: Random signs per sample, the same along the whole path; at least 2 for a standard error.
        generator: Of the probes.
        spacing: As for `Sampler`, but uniform in the log signal-to-noise ratio unless told otherwise.

    Raises:
        ValueError: if `trace` is neither, there are no probes, or they have no generator.
    """
    directions = _directions(x, trace, probes, generator)
    schedule, n = denoiser.schedule, x[0].numel()
    lambdas, taus = [], []
    x_0 = schedule.alpha(torch.zeros((), dtype=x.dtype, device=x.device)) * x
    for t, x_t in _flow(denoiser, x_0, steps, 1.0, spacing):
        lambdas.append(log_snr(schedule, t) / 2)
        taus.append(_resolved(denoiser, x_t, t, directions))
    integral = torch.trapezoid(torch.stack(taus), torch.stack(lambdas), dim=0)
    squares = (x_t / schedule.sigma(t)).flatten(1).square().sum(1)
    rest = n * lambdas[0] - (n * math.log(2 * math.pi) + squares) / 2
    if trace == "exact":
        return LogLikelihood(rest + integral.sum(0), torch.zeros_like(squares), n)
    spread = (integral - integral.mean(0)).square().sum(0)
    return LogLikelihood(rest + integral.mean(0), (spread / (probes * (probes - 1))).sqrt(), n)


def _flow(
    denoiser: Denoiser, x: Tensor, steps: int, end: float, spacing: Spacing | str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `t, x_t` along the flow from 0 up to `end`, both ends among them."""
    heun = HeunSampler(denoiser, steps, spacing=spacing, final="none")
    times = heun.times(end).flip(0).to(x)
    yield times[0], x
    for t, s in pairwise(times):
        x = heun.step(x, t, s)
        yield s, x


def _directions(x: Tensor, trace: str, probes: int, generator: torch.Generator | None) -> Tensor:
    """Return what the trace is taken along, `(K, B, *)` or `(K, 1, *)`: every unit vector, or random signs."""
    if trace == "exact":
        n = x[0].numel()
        return torch.eye(n, dtype=x.dtype, device=x.device).reshape(n, 1, *x.shape[1:])
    if trace != "hutchinson":
        raise ValueError(f"unknown `trace` '{trace}'; {suggest(trace, ('exact', 'hutchinson'))}")
    if probes < 1 or generator is None:
        raise ValueError(
            f"Hutchinson's trace needs `probes` of at least 1 and a `generator`, got {probes} and {generator}. "
            "Pass generator=torch.Generator().manual_seed(0)."
        )
    signs = torch.randint(2, (probes, *x.shape), generator=generator, device=generator.device)
    return 2 * signs.to(x) - 1


def _resolved(denoiser: Denoiser, x_t: Tensor, t: Tensor, directions: Tensor) -> Tensor:
    """Return `v . (alpha dx_hat/dx_t) v` for every direction v, shape `(K, B)`."""
    pull = vjp(lambda x: denoiser(x, t), x_t)[1]
    alpha_t = denoiser.schedule.alpha(t)
    return torch.stack([alpha_t * (v * pull(v.expand_as(x_t))[0]).flatten(1).sum(1) for v in directions])
