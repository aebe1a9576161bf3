"""Where the cells of a sweep run: here one after the other, in processes of this machine, or on a Dask cluster.

All of them are one function: it takes a task and its cells and yields outcomes in the order in which they are done.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from socket import gethostname
from typing import TYPE_CHECKING

from scoreda.errors import ScoredaError
from scoreda.experiments.cells import Cell, Outcome
from scoreda.experiments.identity import Identity, asker, check_workers, identity
from scoreda.experiments.threads import THREADS, one_thread

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Execute", "executor", "here", "local_workers"]

log = logging.getLogger("scoreda")

Task = Callable[[Cell], Outcome]
Execute = Callable[[Task, Iterable[Cell]], Iterator[Outcome]]
TIMEOUT = 10  # seconds that a scheduler has to answer
PATIENCE = 60  # seconds that its first worker has to come
EXTRA = "distributed sweeps need Dask: pip install 'dask[distributed]' threadpoolctl"


def here(task: Task, cells: Iterable[Cell]) -> Iterator[Outcome]:
    """Run the cells in this process, one after the other."""
    yield from map(task, cells)


def local_workers() -> int:
    """Return how many processes a sweep takes on this machine: with Dask one for each processor, without it none."""
    if find_spec("distributed") is None or find_spec("threadpoolctl") is None:
        log.info("cells run one after the other: %s", EXTRA)
        return 0
    mine = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))  # Linux knows what is ours of it
    return len(mine(0))


@contextmanager
def executor(workers: int = 0, scheduler: str | None = None, patience: float = PATIENCE) -> Iterator[Execute]:
    """Yield what runs cells.

    Args:
        workers: Number of processes on this machine; 0 runs the cells in this one.
        scheduler: Address of a running Dask scheduler, `tcp://host:port`, in place of processes of our own.
        patience: Seconds to wait for its first worker; others may join later.

    Raises:
        ScoredaError: if `workers` is negative, the scheduler does not answer or has no worker, a worker has another
            scoreda, or none, or several threads, or Dask is missing.
    """
    if workers < 0:
        raise ScoredaError(
            f"the number of workers must be at least 0, got {workers}. 0 runs the cells one by one, here."
        )
    if not workers and scheduler is None:
        yield here
        return
    with _connected(workers, scheduler) as client:
        _await_worker(client, patience)
        _check_threads(client.nthreads())
        check_workers(client.run(asker()), identity())
        yield partial(_spread, client)


@contextmanager
def _connected(workers: int, scheduler: str | None) -> Iterator["Client"]:
    """Yield a client of the scheduler, or of a cluster that lives as long as this does."""
    try:
        import dask
        import threadpoolctl  # noqa: F401, which the workers will need
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise ScoredaError(EXTRA) from error
    # Workers inherit it before they load a BLAS; no memory limit, because a cell takes what it takes.
    threads = {"distributed.nanny.pre-spawn-environ": dict.fromkeys(THREADS, 1)}
    with dask.config.set(threads):
        if scheduler is None:
            own = dict(n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None)
            with LocalCluster(**own, silence_logs=logging.ERROR) as cluster, Client(cluster) as client:
                yield client
            return
        try:
            client = Client(scheduler, timeout=TIMEOUT)
        except (OSError, ValueError) as error:
            raise ScoredaError(
                f"no scheduler answers at '{scheduler}' ({error}). Start one with `dask scheduler` and pass the "
                "address it prints, or leave --scheduler out and use --workers N."
            ) from error
        with client:
            yield client


def _await_worker(client: "Client", patience: float) -> None:
    """Return once there is a worker; ScoredaError if none comes."""
    if not client.nthreads():
        log.info("waiting up to %g s for a worker", patience)
    try:
        client.wait_for_workers(1, timeout=patience)
    except TimeoutError as error:
        address = client.scheduler_info()["address"]
        raise ScoredaError(
            f"the scheduler at {address} has no worker after {patience:g} s. Start some with "
            f"`dask worker {address} --nthreads 1`, and give the command again."
        ) from error


def _spread(client: "Client", task: Task, cells: Iterable[Cell]) -> Iterator[Outcome]:
    """Run the cells on the workers of a client. A cell whose worker dies is run again by another."""
    from distributed import KilledWorker, as_completed

    futures = {client.submit(_on_worker, identity(), task, cell, pure=False): cell for cell in cells}
    for future in as_completed(futures):
        try:
            yield replace(future.result(), cell=futures[future])
        except KilledWorker as error:
            yield futures[future].failed(f"its workers died, of too little memory or another scoreda ({error})")


def _on_worker(ours: Identity, task: Task, cell: Cell) -> Outcome:
    """Run a cell in a worker, which may have joined after the others were checked."""
    from distributed import get_worker
    from threadpoolctl import threadpool_limits

    check_workers({gethostname(): identity()}, ours)
    _check_threads({gethostname(): get_worker().state.nthreads})
    one_thread()
    threadpool_limits(1)  # a BLAS that is loaded has read the environment long ago
    return task(cell)


def _check_threads(found: Mapping[str, int]) -> None:
    """Raise ScoredaError if any worker, by address, would run several cells at once: netCDF's library cannot."""
    for worker, threads in found.items():
        if threads > 1:
            raise ScoredaError(
                f"the worker {worker} has {threads} threads, and a process can run one cell at a time. Start processes "
                f"in their place: `dask worker ADDRESS --nworkers {threads} --nthreads 1`."
            )
