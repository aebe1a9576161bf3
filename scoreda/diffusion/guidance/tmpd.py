r"""Tweedie moment projected diffusion: the true covariance of x given x_t, its observed part made diagonal by row sums.

$$ \hat x_y = \hat x + V H^\top \big( R + \mathrm{diag}(H V H^\top 1) \big)^{-1} (y - h(\hat x)) $$

Source: Boys et al. (2023), Tweedie moment projected diffusions for inverse problems, https://arxiv.org/abs/2310.06721
"""

import torch
from torch import Tensor

from scoreda.diffusion.guidance.base import Guidance, Linearised

__all__ = ["TMPD"]


class TMPD(Guidance):
    """Tweedie moment projection; arguments are those of every `Guidance`.

    A row whose sum is negative, where neighbours are anticorrelated, counts as zero.

    Exact when: the prior is Gaussian, `H` linear and H V H^T diagonal, such as for a single observation.
    """

    name = "tmpd"

    def guide(self, at: Linearised) -> Tensor:
        """Return the projected estimate of E[x | x_t, y]."""
        row_sums = at.H(at.V(at.H_transpose(torch.ones_like(at.residual))))
        u = at.weigh(row_sums.clamp_min(0))
        return at.x_hat + at.V(at.H_transpose(u))
