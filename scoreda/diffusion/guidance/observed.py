"""What was observed, in the form that every guidance method uses."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scoreda.observations import carried_to

__all__ = ["Observed", "as_numbers", "require_known_values", "require_same_kind"]


class Observed:
    """Observations `y = H(x) + e`, `e ~ N(0, R)`, with gaps.

    A missing value becomes one whose row of H is zero, whose residual is zero and whose error is independent of the
    others: then any variance does, and no method needs to know of gaps.

    Args:
        y: Observations, `(Ny,)` or `(B, Ny)`; NaN where missing.
        H: Operator from states `(B, *)` to `(B, Ny)` (or what flattens to that), differentiable by torch.
        R: Observation-error covariance: a scalar variance, variances `(Ny,)`, or a matrix `(Ny, Ny)`.
        weight: Power of the likelihood, that is R / weight.

    Raises:
        ValueError: if `y` is not such a tensor, `R` is not positive (definite), or its shape fits neither.
    """

    def __init__(self, y: Tensor, H: Callable[[Tensor], Tensor], R: Tensor | float, weight: float = 1.0) -> None:
        require_known_values(y, "(Ny,) or (B, Ny)", (1, 2))
        self.H, self.present = carried_to(y, H), ~torch.isnan(y)
        self.y = torch.where(self.present, y, torch.zeros_like(y))
        R = as_numbers(R, y) / weight
        self.is_diagonal = R.ndim < 2
        if R.ndim > 2 or not all(n == y.shape[-1] for n in R.shape):
            raise ValueError(
                f"`R` must be a variance, variances ({y.shape[-1]},) or a covariance ({y.shape[-1]}, {y.shape[-1]}), "
                f"got shape {tuple(R.shape)}."
            )
        _check_positive(R)
        self.R = self._diagonal(R) if self.is_diagonal else self._full(R)

    def _diagonal(self, R: Tensor) -> Tensor:
        return torch.where(self.present, R, torch.ones_like(self.y))

    def _full(self, R: Tensor) -> Tensor:
        both = self.present[..., :, None] & self.present[..., None, :]
        return torch.where(both, R, torch.eye(len(R), dtype=R.dtype, device=R.device))

    def check(self, x_t: Tensor) -> None:
        """Refuse states that the observations do not fit.

        Raises:
            ValueError: if they are of another dtype or device, or `y` has rows for another number of them.
        """
        require_same_kind(x_t, self.y)
        if self.y.ndim == 2 and len(self.y) not in (1, len(x_t)):
            raise ValueError(
                f"`y` has {len(self.y)} rows, got {len(x_t)} states. Pass a row for each, or one vector (Ny,) for all."
            )

    def predict(self, x: Tensor) -> Tensor:
        """Return H(x) `(B, Ny)`, zero where nothing is observed.

        Raises:
            ValueError: if the operator cannot work on torch tensors, or returns another shape.
        """
        return torch.where(self.present, self._operate(x), torch.zeros((), dtype=x.dtype, device=x.device))

    def _operate(self, x: Tensor) -> Tensor:
        try:
            y_hat = self.H(x)
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"the operator `H` failed on a torch tensor: {error}. {_TORCH_OPERATORS}") from error
        if not isinstance(y_hat, Tensor):
            raise ValueError(f"the operator `H` returned a {type(y_hat).__name__}, not a tensor. {_TORCH_OPERATORS}")
        if y_hat.ndim < 2 or y_hat.flatten(1).shape != (len(x), self.y.shape[-1]):
            raise ValueError(
                f"`H` must return shape {(len(x), self.y.shape[-1])}, got {tuple(y_hat.shape)}. "
                "Return one value for each observation in `y`, for every member."
            )
        return y_hat.flatten(1)

    def residual(self, y_hat: Tensor) -> Tensor:
        """Return `y - y_hat` `(B, Ny)`, zero where nothing is observed."""
        return torch.where(self.present, self.y - y_hat, torch.zeros_like(y_hat))

    def covariance(self, added: Tensor | float = 0.0) -> Tensor:
        """Return R + diag(added): variances `(..., Ny)` if R is diagonal, else matrices `(..., Ny, Ny)`."""
        added = torch.as_tensor(added, dtype=self.y.dtype, device=self.y.device)
        if self.is_diagonal:
            return self.R + added
        return self.R + torch.diag_embed(added.expand(*added.shape[:-1], self.y.shape[-1]))

    def multiply(self, u: Tensor) -> Tensor:
        """Return R u for rows `u` `(B, Ny)`."""
        return self.R * u if self.is_diagonal else torch.einsum("...ij,...j->...i", self.R, u)

    def solve(self, residual: Tensor, added: Tensor | float = 0.0) -> Tensor:
        """Return (R + diag(added))^-1 residual; `added` a scalar, `(B, 1)` or `(B, Ny)`."""
        C = self.covariance(added)
        return residual / C if self.is_diagonal else torch.linalg.solve(C, residual[..., None])[..., 0]


_TORCH_OPERATORS = (
    "Write it with torch functions, or take Sites, EveryNth, Identity or Elementwise of scoreda.observations, "
    "which work on tensors."
)


def require_known_values(y: Any, shapes: str, axes: tuple[int, ...]) -> None:
    """Refuse observations that are no floating-point tensor of so many axes, or infinite.

    Raises:
        ValueError: if they are; `shapes` says what is wanted.
    """
    if not (isinstance(y, Tensor) and y.is_floating_point() and y.ndim in axes):
        got = f"{type(y).__name__} of {y.dtype} {tuple(y.shape)}" if hasattr(y, "shape") else type(y).__name__
        fix = "torch.as_tensor(y).flatten()" if isinstance(y, Tensor) and axes == (1, 2) else "torch.as_tensor(y)"
        raise ValueError(f"`y` must be a floating-point tensor {shapes}, got {got}. Use {fix}.")
    if torch.isinf(y).any():
        raise ValueError("`y` has infinite values. Mark what is missing by NaN.")


def require_same_kind(x_t: Tensor, y: Tensor) -> None:
    """Refuse states of another dtype or device than the observations.

    Raises:
        ValueError: if they are.
    """
    if (x_t.dtype, x_t.device) != (y.dtype, y.device):
        raise ValueError(
            f"states are {x_t.dtype} on {x_t.device}, but `y` is {y.dtype} on {y.device}. Pass y=y.to(x_t)."
        )


def as_numbers(R: Any, y: Tensor) -> Tensor:
    """Return error variances or a covariance as a tensor like `y`; ValueError if they are no numbers."""
    try:
        return torch.as_tensor(R, dtype=y.dtype, device=y.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"`R` must be numbers, got {R!r} ({error}). Pass variances, obs_std**2.") from error


def _check_positive(R: Tensor) -> None:
    positive = (R > 0).all() if R.ndim < 2 else torch.linalg.cholesky_ex(R)[1] == 0
    if not bool(positive & R.isfinite().all()):
        raise ValueError(
            "the observation-error covariance `R` must be positive and finite. Pass variances, obs_std**2."
        )
    if R.ndim == 2 and not torch.allclose(R, R.mT):
        raise ValueError("the observation-error covariance `R` must be symmetric. Pass (R + R.T) / 2.")
