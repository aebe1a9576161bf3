"""How hard the observations pull, call by call."""

import torch
from torch import Tensor

from scoreda.diffusion.guidance.base import Guidance, Linearised

__all__ = ["Recorded"]


class Recorded:
    """A guided denoiser that keeps a record of each of its calls, without further evaluations of the prior.

    Args:
        guided: Any `Guidance`.

    Attributes:
        records: One dict per call, of detached tensors:

            * `t`: diffusion time, as it was given;
            * `correction`: norm of x_hat_y - x_hat, `(B,)`;
            * `residual`: norm of y - h(x_hat), `(B,)`;
            * `chi2`: r^T R^-1 r per observation present, r being that residual, `(B,)`;
            * `weight`: the share of r that the correction removes, in the metric of R^-1, `(B,)`: 0 leaves the prior
              alone, 1 goes to the observations, more overshoots. NaN without observations, like `chi2`.
    """

    def __init__(self, guided: Guidance) -> None:
        self.guided, self.schedule = guided, guided.schedule
        self.records: list[dict[str, Tensor]] = []

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return what the guided denoiser returns, to the bit."""
        at = self.guided.linearise(x_t, t)
        x_hat_y = self.guided.guide(at)
        self.records.append(_record(at, x_hat_y))
        return x_hat_y


@torch.no_grad()
def _record(at: Linearised, x_hat_y: Tensor) -> dict[str, Tensor]:
    removed = at.residual - at.observed.residual(at.observed.predict(x_hat_y))
    u = at.weigh()
    chi2 = (at.residual * u).sum(-1)
    return dict(
        t=at.t.detach(),
        correction=(x_hat_y - at.x_hat).flatten(1).norm(dim=1).detach(),
        residual=at.residual.norm(dim=-1).detach(),
        chi2=(chi2 / at.observed.present.sum(-1)).detach(),
        weight=((removed * u).sum(-1) / chi2).detach(),
    )
