"""Models with errors: after each step of a model, a random change of the state.

A random model has no tangent, no adjoint and no torch version; it offers `"random"`. It draws from a generator that is
bound to it: `model.seeded(rng)`, or the `seed` it was made with. `seeded(model, rng)` binds any model and returns the
others as they are, so a method that calls it on its own `rng` stays reproducible and can be resumed.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from scoreda.errors import ScoredaError, suggest
from scoreda.models.base import Model, check_states, cholesky

__all__ = ["MODEL_ERRORS", "AdditiveError", "ModelError", "Shocks", "WithModelError", "model_error_from_spec", "seeded"]


class ModelError(Protocol):
    """What a model gets wrong in one step."""

    name: str

    def perturbed(self, E: np.ndarray, dt: float, rng: np.random.Generator) -> np.ndarray:
        """Return the ensemble `E` `(N, Nx)` after a step of `dt`, with the error added; members are independent."""
        ...

    def spec(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        ...


class AdditiveError:
    r"""Gaussian noise $\sqrt{dt}\, Q^{1/2} \xi$ in every step, so that its variance does not depend on the step.

    Args:
        variance: Error variance Q gained in one model time unit: a scalar, one per variable `(Nx,)`, or a covariance
            `(Nx, Nx)`.

    Raises:
        ValueError: if a variance is negative or not finite, or the covariance is not symmetric positive definite.
    """

    name = "additive"

    def __init__(self, variance: float | Sequence[Any] | np.ndarray) -> None:
        Q = np.asarray(variance, dtype=np.float64)
        if not np.isfinite(Q).all() or (Q.ndim < 2 and (Q < 0).any()):
            raise ValueError(f"the model error variance must be finite and not negative, got {variance}.")
        self.variance = Q
        self._chol = cholesky(Q, "the model error covariance") if Q.ndim == 2 else None

    def perturbed(self, E: np.ndarray, dt: float, rng: np.random.Generator) -> np.ndarray:
        """Return `E` with the noise of one step of `dt`; ValueError if the variance is of another size."""
        if self.variance.shape not in ((), E.shape[1:], (E.shape[1],) * 2):
            raise ValueError(f"the model error variance has shape {self.variance.shape}, the state {E.shape[1:]}.")
        xi = np.sqrt(dt) * rng.normal(size=E.shape)
        return E + (np.sqrt(self.variance) * xi if self._chol is None else xi @ self._chol.T)

    def spec(self) -> dict[str, Any]:
        """Return the variance."""
        return dict(name=self.name, variance=self.variance.tolist())


class Shocks:
    r"""Rare shocks in proportion to the state, $x_i \mathrel{+}= s\, |x_i|\, \xi_i$.

    Kind `j` of shock strikes with probability `p_j` in each step, whatever its length; the sizes of kinds that strike
    together add up to `s`, and every variable has its own standard Gaussian `xi`.

    Args:
        probabilities: Of each kind, per model step.
        sizes: Of each kind.

    Raises:
        ValueError: if there are not as many sizes, or one makes no sense.

    Source: the third problem of Bao et al. (2024), https://doi.org/10.1016/j.cma.2024.117447, with steps of 0.01.
    """

    name = "shocks"

    def __init__(
        self, probabilities: Sequence[float] = (0.005, 0.01, 0.02), sizes: Sequence[float] = (0.5, 0.2, 0.05)
    ) -> None:
        self.probabilities, self.sizes = np.array(probabilities, float), np.array(sizes, float)
        if self.probabilities.shape != self.sizes.shape or self.sizes.ndim != 1:
            raise ValueError(f"need one size per probability, got {probabilities} and {sizes}.")
        if not ((self.probabilities >= 0) & (self.probabilities <= 1) & (self.sizes >= 0)).all():
            raise ValueError(f"probabilities must be in [0, 1] and sizes not negative, got {probabilities}, {sizes}.")

    def perturbed(self, E: np.ndarray, dt: float, rng: np.random.Generator) -> np.ndarray:
        """Return `E` with the shocks of one step."""
        size = (rng.random((len(E), len(self.sizes))) < self.probabilities) @ self.sizes
        return E + size[:, None] * np.abs(E) * rng.normal(size=E.shape)

    def spec(self) -> dict[str, Any]:
        """Return probabilities and sizes."""
        return dict(name=self.name, probabilities=self.probabilities.tolist(), sizes=self.sizes.tolist())


MODEL_ERRORS: dict[str, type[AdditiveError] | type[Shocks]] = {kind.name: kind for kind in (AdditiveError, Shocks)}


def model_error_from_spec(spec: dict[str, Any]) -> ModelError:
    """Rebuild a model error from its `spec()`."""
    settings = dict(spec)
    name = settings.pop("name", "")
    if name not in MODEL_ERRORS:
        raise ScoredaError(f"unknown model error '{name}'; {suggest(name, MODEL_ERRORS)}")
    return MODEL_ERRORS[name](**settings)


class WithModelError:
    """A model and what it gets wrong in each step.

    Args:
        model: The model without errors.
        error: What is added after each of its steps.
        seed: Of a generator of its own; without one, bind a generator by `seeded` before the first step.
    """

    name = "with_model_error"

    def __init__(self, model: Model, error: ModelError, seed: int | None = None) -> None:
        self.model, self.error, self.seed = model, error, seed
        self.size, self.dt, self.offers = model.size, model.dt, model.offers & {"distance"} | {"random"}
        self._rng = None if seed is None else np.random.default_rng(seed)

    def seeded(self, rng: np.random.Generator) -> "WithModelError":
        """Return the same model, drawing from `rng`."""
        bound = WithModelError(self.model, self.error, self.seed)
        bound._rng = rng
        return bound

    def step(self, E: np.ndarray, steps: int = 1) -> np.ndarray:
        """Advance the ensemble `E` `(N, Nx)`; ValueError if no generator is bound."""
        if self._rng is None:
            raise ValueError("this model is random and has no generator. Use `seeded(model, rng)`, or pass seed=.")
        E = check_states(E, self.size).copy()
        for _ in range(steps):
            E = self.error.perturbed(self.model.step(E), self.dt, self._rng)
        return E

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the distances between variables, if the model offers them."""
        return self.model.distance(a, b)  # type: ignore[attr-defined]

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return rough states of the model without errors."""
        return self.model.random_states(members, rng)

    def spec(self) -> dict[str, Any] | None:
        """Return the model and its error, or None if the model is a user's."""
        inner = self.model.spec()
        return inner and dict(name=self.name, model=inner, error=self.error.spec(), seed=self.seed)


def seeded(model: Model, rng: np.random.Generator) -> Model:
    """Return `model` drawing from `rng` if it is random, and as it is if it is not."""
    return model.seeded(rng) if isinstance(model, WithModelError) else model
