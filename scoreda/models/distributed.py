"""One ensemble forecast by many workers: its members are dealt out in groups, and put together again."""

import os
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import numpy as np

from scoreda.errors import ScoredaError
from scoreda.models.base import Model, check_states

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["OnDask"]

EXTRA = "forecasts on Dask need it: pip install 'dask[distributed]', or pass an executor of concurrent.futures."
FORWARDED = frozenset({"tangent", "adjoint", "torch", "distance"})


class OnDask:
    """A model whose members are forecast by the workers of a Dask client: `LETKF(OnDask(model), radius=8.0)`.

    Sent elsewhere, to a worker or to a file, it is the plain model. Derivatives, of one trajectory, are computed here.

    Args:
        model: Any model that is not random. One with errors goes outside: `WithModelError(OnDask(model), error)`
            draws them here, so that they do not depend on who forecasts which member.
        client: A Dask client, or any executor of `concurrent.futures`; default the Dask client that is open.
        groups: How many parts the members are dealt out in; default one for each thread of the client, or each
            processor of this machine for other executors.

    Exact when: to the bit if a member does not depend on those beside it, as in all models of scoreda.
    Cost: the members travel to the workers and back in every call of `step`, with some hundredths of a second for
    Dask's messages: for models whose forecast takes much longer than that.

    Raises:
        ScoredaError: if Dask is missing, or no client is open.
        ValueError: if the model is random, or the client is none.
    """

    def __init__(self, model: Model, client: "Client | Executor | None" = None, groups: int | None = None) -> None:
        if "random" in model.offers:
            raise ValueError(
                f"{model.name} draws its errors from one generator, which workers cannot share. Put the errors "
                "outside: WithModelError(OnDask(model), error)."
            )
        if groups is not None and groups < 1:
            raise ValueError(f"`groups` must be at least 1, got {groups}. Leave it out for one to each thread.")
        self.model, self.groups = model, groups
        self.name, self.size, self.dt, self.offers = model.name, model.size, model.dt, model.offers & FORWARDED
        self._client: Any = _open_client() if client is None else _checked(client)

    def step(self, E: np.ndarray, steps: int = 1) -> np.ndarray:
        """Advance the ensemble `E` `(N, Nx)`, its members in groups."""
        E = check_states(E, self.size)
        groups = np.array_split(E, max(1, min(self.groups or _threads(self._client), len(E))))
        forecast = _by_executor if isinstance(self._client, Executor) else _by_workers
        return np.concatenate(forecast(self._client, self.model, groups, steps))

    def tangent(self, x: np.ndarray, dX: np.ndarray, steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Carry perturbations along the trajectory from `x`, if the model offers it."""
        return self.model.tangent(x, dX, steps)  # type: ignore[attr-defined]

    def adjoint(self, x: np.ndarray, dY: np.ndarray, steps: int = 1) -> np.ndarray:
        """Apply the transpose of the tangent map, if the model offers it."""
        return self.model.adjoint(x, dY, steps)  # type: ignore[attr-defined]

    def torch_step(self, x: Any, steps: int = 1) -> Any:
        """Advance torch states, if the model offers it."""
        return self.model.torch_step(x, steps)  # type: ignore[attr-defined]

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the distances between variables, if the model offers them."""
        return self.model.distance(a, b)  # type: ignore[attr-defined]

    def random_states(self, members: int, rng: np.random.Generator) -> np.ndarray:
        """Return rough states of the plain model."""
        return self.model.random_states(members, rng)

    def spec(self) -> dict[str, Any] | None:
        """Return what rebuilds the plain model: where it ran is no part of a result."""
        return self.model.spec()

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_is, (self.model,)


def _as_it_is(model: Model) -> Model:
    return model


def _open_client() -> "Client":
    """Return the Dask client that is open."""
    try:
        from distributed import default_client
    except ModuleNotFoundError as error:
        raise ScoredaError(EXTRA) from error
    try:
        return default_client()
    except ValueError as error:
        raise ScoredaError("no Dask client is open. Open one, `distributed.Client()`, or pass client=.") from error


def _checked(client: Any) -> Any:
    """Return the client; ValueError if it is none."""
    if not (isinstance(client, Executor) or hasattr(client, "scatter")):
        raise ValueError(
            f"`client` must be a Dask client or an executor of concurrent.futures, got {type(client).__name__}."
        )
    return client


def _by_executor(executor: Executor, model: Model, groups: list[np.ndarray], steps: int) -> list[np.ndarray]:
    return list(executor.map(model.step, groups, [steps] * len(groups)))


def _by_workers(client: "Client", model: Model, groups: list[np.ndarray], steps: int) -> list[np.ndarray]:
    """Hand the groups out, and forecast each where it is; models of users need not be pure: nothing is looked up."""
    dealt = client.scatter(groups, hash=False)
    return client.gather(client.map(model.step, dealt, [steps] * len(groups), pure=False))


def _threads(client: Any) -> int:
    """Return how many threads the workers have now, or this machine has processors."""
    return (os.cpu_count() or 1) if isinstance(client, Executor) else sum(client.nthreads().values())
