"""What a dynamical system offers to the rest of scoreda."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = ["Model", "check_states", "cholesky", "require"]


@runtime_checkable
class Model(Protocol):
    """A discrete-time map on states of `size` variables; one `step` advances `dt` model time units.

    `offers` names the optional capabilities: the derivatives `"tangent"` and `"adjoint"`, the same map in `"torch"`,
    `"random"` for errors that a generator is bound to draw (`seeded`), `"truncation"` for a state whose `resolved`
    part is that of another, and `"distance"` where variables do not follow one another on an even grid. Methods check
    it with `require` before the first cycle and never probe for attributes.
    """

    name: str
    size: int
    dt: float
    offers: frozenset[str]

    def step(self, E: np.ndarray, steps: int = 1) -> np.ndarray:
        """Advance an ensemble `(N, Nx)` by `steps` steps; returns a new array."""
        ...

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return rough states `(members, Nx)` from which a spin-up reaches the climate."""
        ...

    def spec(self) -> dict[str, Any] | None:
        """Return the settings that rebuild the model, or None if only code can."""
        ...


WITHOUT = {
    "tangent": "ETKF, LETKF, StochasticEnKF, CoupledScoreFilter",
    "adjoint": "ETKF, LETKF, StochasticEnKF, CoupledScoreFilter",
    "torch": "ETKF, LETKF, StochasticEnKF, CoupledScoreFilter, Score4D",
}


ARGUMENT = {"tangent": "tangent", "adjoint": "adjoint", "torch": "torch_function"}  # of UserModel


def require(model: Model, capability: str, method: str) -> None:
    """Raise ValueError if `model` does not offer `capability`, naming the methods that do without it."""
    if capability not in model.offers:
        offered = ", ".join(sorted(model.offers)) or "none"
        raise ValueError(
            f"{method} needs a model that offers '{capability}'; {model.name} offers: {offered}. "
            f"Pass `{ARGUMENT[capability]}=` to a UserModel, or use one of {WITHOUT[capability]}."
        )


def check_states(E: np.ndarray, size: int) -> np.ndarray:
    """Return `E` as C-contiguous float64 `(N, size)`; ValueError if the shape is another."""
    E = np.ascontiguousarray(E, dtype=np.float64)
    if E.ndim != 2 or E.shape[1] != size:
        raise ValueError(f"`E` must have shape (members, {size}), got {E.shape}. Rows are members.")
    return E


def cholesky(C: np.ndarray, what: str) -> np.ndarray:
    """Return the lower factor of `C`; ValueError if it is not a symmetric positive definite matrix."""
    if C.shape != (len(C), len(C)) or not np.allclose(C, C.T):
        raise ValueError(f"{what} must be square and symmetric, got shape {C.shape}.")
    try:
        return np.linalg.cholesky(C)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"{what} is not positive definite. Add a little to its diagonal.") from error
