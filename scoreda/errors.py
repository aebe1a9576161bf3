"""The one exception of the package, and the nearest-name hint that its messages end with."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["ScoredaError", "suggest"]


class ScoredaError(ValueError):
    """Bad input: the message says what is wrong, what was found and how to mend it."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the nearest known name, or the list of all of them."""
    known = sorted(known)
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
