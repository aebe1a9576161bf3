"""The one exception of the package, and how names that nobody knows are answered."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any, SupportsFloat, SupportsIndex, TypeVar

__all__ = ["ScoredaError", "bare", "choose", "construct", "require_known", "require_numbers", "suggest"]

T = TypeVar("T")


class ScoredaError(ValueError):
    """Bad input: the message says what is wrong, what was found and how to mend it."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the nearest known name, else for all that contain it, else list all of them."""
    names, wanted = {bare(each): each for each in sorted(known)}, bare(name)
    near = get_close_matches(wanted, names, n=1, cutoff=0.6) or [each for each in names if wanted and wanted in each]
    meant = " or ".join(f"'{names[each]}'" for each in near)
    return f"did you mean {meant}?" if near else f"known: {', '.join(names.values())}"


def bare(name: str) -> str:
    """Return a name without what people type differently: capitals, dashes, underscores and spaces."""
    return "".join(c for c in name.lower() if c not in "_- ")


def choose(what: str, name: str, known: Mapping[str, T]) -> T:
    """Return `known[name]`.

    Raises:
        ScoredaError: if there is none; the message names the nearest.
    """
    if name not in known:
        raise ScoredaError(f"unknown {what} '{name}'; {suggest(name, known)}")
    return known[name]


def construct(what: str, spec: Mapping[str, Any], kinds: Mapping[str, Any], *args: Any) -> Any:
    """Return `kinds[name](*args, **settings)` of a `spec` that holds `name` and settings.

    Raises:
        ScoredaError: if there is no such name, or no such setting; the message names the nearest.
    """
    name = spec.get("name", "")
    kind, settings = choose(what, name, kinds), {key: value for key, value in spec.items() if key != "name"}
    require_known(f"setting of {what} '{name}':", settings, signature(kind).parameters)
    return kind(*args, **settings)


def require_known(what: str, names: Iterable[str], known: Mapping[str, Any]) -> None:
    """Refuse names that are not known.

    Raises:
        ScoredaError: at the first; the message names the nearest.
    """
    for name in names:
        choose(what, name, known)


def require_numbers(whole: bool = False, **values: object) -> None:
    """Refuse settings that are no numbers, such as text.

    Raises:
        ValueError: at the first.
    """
    kind, called, fix = (SupportsIndex, "a whole number", "an int") if whole else (SupportsFloat, "a number", "a float")
    for name, value in values.items():
        if not isinstance(value, kind):
            raise ValueError(f"`{name}` must be {called}, got {value!r}. Pass {fix}.")
