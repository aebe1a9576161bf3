"""The discrete schedule of DDPM, with the steps of a list of betas."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.schedules.base import warn_of_terminal_signal
from scoreda.diffusion.schedules.rate import VariancePreserving
from scoreda.errors import ScoredaError, require_numbers, suggest

__all__ = ["BETAS", "DDPM"]


def linear(steps: int, beta_min: float, beta_max: float) -> Tensor:
    """Return betas in arithmetic progression (Ho et al. 2020, section 4)."""
    return torch.linspace(beta_min, beta_max, steps, dtype=torch.float64)


def squared_cosine(steps: int, beta_min: float, beta_max: float) -> Tensor:
    """Return the betas of a squared cosine for abar, at most .999 (Nichol & Dhariwal 2021, eq. 17)."""
    angle = (torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * math.pi / 2
    abar = torch.cos(angle) ** 2
    return (1 - abar[1:] / abar[:-1]).clamp_max(0.999)


BETAS: dict[str, Callable[[int, float, float], Tensor]] = {"linear": linear, "squared_cosine": squared_cosine}


class StepRate:
    """The integral of a rate that is constant between steps.

    Args:
        table: The integral at steps 1, ..., T, float64, increasing.
    """

    def __init__(self, table: Tensor) -> None:
        self.table, self.intervals = table, len(table) - 1

    def integral(self, t: Tensor) -> Tensor:
        """Return the integral at `t`, linear between steps."""
        table, position = self.table.to(t), t * self.intervals
        left = position.floor().long().clamp(0, self.intervals - 1)
        return table[left] + (position - left) * (table[left + 1] - table[left])

    def time_of(self, B: Tensor) -> Tensor:
        """Return the `t` at which the integral is `B`."""
        table = self.table.to(B)
        left = torch.searchsorted(table[1:-1], B.contiguous(), right=True)
        return (left + (B - table[left]) / (table[left + 1] - table[left])) / self.intervals


class DDPM(VariancePreserving):
    r"""Noise in T steps $x_k = \sqrt{1 - \beta_k}\, x_{k-1} + \sqrt{\beta_k}\, \epsilon$, and at all times between.

    Step k of 1, ..., T is at $t = (k - 1) / (T - 1)$: t = 0 is the first step, which has noise already, and a sampler
    of T uniform steps visits each once before it ends with the denoiser. There $\alpha_t^2 = \bar\alpha_k$ exactly;
    between steps $\ln \bar\alpha$ is linear.

    Args:
        betas: "linear", "squared_cosine", or the variances $\beta_1, ..., \beta_T$ themselves. A rate b per unit time
            in T steps, as for `VPConstant`, is the list of `1 - exp(-b / T)`.
        steps: T; default 1000, or the number of `betas`.
        beta_min: First of the linear betas.
        beta_max: Last of the linear betas.

    Raises:
        ScoredaError: if `betas` is an unknown name.
        ValueError: if there are fewer than two steps, not `steps` betas, or one is not between 0 and 1.

    Warns:
        TerminalSignalWarning: if the steps are too few for their betas; 300 of the default ones leave 22 %.

    Source: Ho et al. (2020), Denoising diffusion probabilistic models, eq. 2 and 4, https://arxiv.org/abs/2006.11239;
    Nichol & Dhariwal (2021), https://arxiv.org/abs/2102.09672
    """

    name = "ddpm"

    def __init__(
        self,
        betas: str | Sequence[float] | Tensor = "linear",
        steps: int | None = None,
        beta_min: float = 1e-4,
        beta_max: float = 0.02,
    ) -> None:
        require_numbers(beta_min=beta_min, beta_max=beta_max)
        self.betas = _betas(betas, steps, beta_min, beta_max)
        self.steps = len(self.betas)
        self._named = dict(betas=betas, steps=self.steps, beta_min=beta_min, beta_max=beta_max)
        self.rate = StepRate(-torch.log1p(-self.betas).cumsum(0))
        warn_of_terminal_signal(self, "Raise `steps` or the betas.")

    def index(self, t: Tensor) -> Tensor:
        """Return the position in `betas` of the step nearest to `t`, 0 to T - 1, integer."""
        return (t * (self.steps - 1)).round().long().clamp(0, self.steps - 1)

    def time_of_index(self, index: Tensor) -> Tensor:
        """Return the `t` of positions in `betas`, 0 to T - 1; step k of the papers is position k - 1."""
        return index / (self.steps - 1)

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
        settings = self._named if isinstance(self._named["betas"], str) else dict(betas=self.betas.tolist())
        return dict(name=self.name, **settings)


def _betas(betas: str | Sequence[float] | Tensor, steps: int | None, beta_min: float, beta_max: float) -> Tensor:
    if isinstance(betas, str):
        if betas not in BETAS:
            raise ScoredaError(f"unknown betas '{betas}'; {suggest(betas, BETAS)}")
        values = BETAS[betas](1000 if steps is None else steps, beta_min, beta_max)
    else:
        values = torch.as_tensor(betas, dtype=torch.float64).cpu()
    if values.ndim != 1 or len(values) < 2 or steps not in (None, len(values)):
        raise ValueError(f"`betas` must be `steps` >= 2 values, got shape {tuple(values.shape)} with steps={steps}.")
    if not ((values > 0) & (values < 1)).all():
        raise ValueError(f"betas must lie between 0 and 1, got {float(values.min()):g} to {float(values.max()):g}.")
    return values
