"""Which scoreda a process runs, so that a sweep is not mixed from the results of several.

A version alone does not tell: two checkouts of one version may differ by commits. Hence the hash of the sources.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from scoreda import __version__
from scoreda.errors import ScoredaError

__all__ = ["asker", "check_workers", "identity"]

Identity = Mapping[str, str]
PACKAGE = Path(__file__).parents[1]
SHOWN = 8  # digits of the hash
FIX = (
    "Install the scoreda that runs the sweep (from a checkout: the same commit, with the same changes) in the "
    "environment of all workers, and start them again."
)


@cache
def identity() -> Identity:
    """Return version, commit (for messages) and hash of the sources of this process, as they are at the first call."""
    from scoreda.datasets.provenance import commit

    return {"version": __version__, "commit": commit(), "sources": _hash_of(PACKAGE)}


def asker() -> Callable[[], Identity]:
    """Return what a worker is sent to tell its identity.

    It is a function inside a function, which is sent as it is and not by its name: the scoreda of the worker may lack
    this module.
    """

    def ask() -> Identity:
        try:
            from scoreda.experiments.identity import identity

            return identity()
        except Exception as error:
            why = {"error": f"{type(error).__name__}: {error}"}
        try:
            from scoreda import __version__ as version

            return {"version": str(version)} | why
        except ImportError:
            return why

    return ask


def check_workers(found: Mapping[str, Identity], ours: Identity) -> None:
    """Raise ScoredaError if any worker, by address, runs other code than the process that has the identity `ours`."""
    for worker, theirs in found.items():
        if any(theirs.get(key) != ours[key] for key in ("version", "sources")):
            raise ScoredaError(
                f"the worker {worker} has {_named(theirs)}, but the sweep is run by {_named(ours)}. {FIX}"
            )


def _named(found: Identity) -> str:
    """Return an identity in words."""
    commit, sources, error = (found.get(key, "") for key in ("commit", "sources", "error"))
    known = [f"commit {commit}"] * bool(commit) + [f"sources {sources[:SHOWN]}"] * bool(sources) + [error] * bool(error)
    name = f"scoreda {found['version']}" if "version" in found else "no scoreda"
    return f"{name} ({', '.join(known)})"


def _hash_of(package: Path) -> str:
    """Return the hash of the Python files of a package, their names among it."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
