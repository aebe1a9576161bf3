"""The straight path of flow matching."""

from typing import Any

import torch
from torch import Tensor

from scoreda.diffusion.schedules.base import warn_of_terminal_signal
from scoreda.errors import require_numbers

__all__ = ["RectifiedFlow"]


class RectifiedFlow:
    r"""Rectified flow, or flow matching along straight lines: $x_t = (1 - u) x + u\, \epsilon$.

    The velocity of a line, $\epsilon - x$, is the target named "velocity". At u = 0 there is no noise and at u = 1 no
    signal, where score and denoised state are not defined, so `t` runs from `u = t_min` to `u = 1 - margin`.

    Args:
        t_min: The noise at t = 0.
        margin: The signal at t = 1.

    Source: Liu et al. (2022), Flow straight and fast, eq. 1, https://arxiv.org/abs/2209.03003; Lipman et al. (2023),
    Flow matching for generative modeling, section 4.1, https://arxiv.org/abs/2210.02747
    """

    name = "rectified_flow"

    def __init__(self, t_min: float = 0.001, margin: float = 0.001) -> None:
        require_numbers(t_min=t_min, margin=margin)
        if not (t_min > 0 and margin > 0 and t_min + margin < 1):
            raise ValueError(f"need t_min > 0, margin > 0 and t_min + margin < 1, got t_min={t_min}, margin={margin}.")
        self.t_min, self.margin = float(t_min), float(margin)
        warn_of_terminal_signal(self, "Lower `margin`.")

    def alpha(self, t: Tensor) -> Tensor:
        """Return the signal scale at `t`, summed from the small end: 1 - u would lose its digits near t = 1."""
        return self.margin + (1 - t) * (1 - self.t_min - self.margin)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the noise standard deviation at `t`."""
        return self.t_min + t * (1 - self.t_min - self.margin)

    def time(self, ratio: Tensor | float) -> Tensor:
        """Return the `t` at which sigma / alpha equals `ratio`; beyond the ends it extrapolates."""
        ratio = torch.as_tensor(ratio)
        return (ratio / (1 + ratio) - self.t_min) / (1 - self.t_min - self.margin)

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the schedule."""
        return dict(name=self.name, t_min=self.t_min, margin=self.margin)
