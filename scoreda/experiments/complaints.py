"""Pydantic's errors in the words of a user: `file:line: key: message; did you mean 'x'?`."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scoreda.errors import suggest
from scoreda.experiments.yaml_source import Key, Source

__all__ = ["complaints"]

AMBIGUOUS = {
    name: "a bare noise level is ambiguous: give `obs_std` (a standard deviation) or `obs_variance`"
    for name in ("noise", "sigma", "R")
}


def complaints(kind: type[BaseModel], source: Source, error: ValidationError) -> Iterator[str]:
    """Yield one line for each mistake in `source`, in the order of the file."""
    placed = []
    for details in error.errors():
        key = _written(details["loc"], source.data)
        placed.append((source.line(key), f"{source.place(key)}: {_text(kind, key, details)}"))
    yield from (line for _, line in sorted(placed))


def _written(loc: Key, data: Any) -> Key:
    """Return `loc` without the tags that pydantic puts between sections (`methods.a.letkf.radius`) and after keys."""
    key: list[str | int] = []
    for depth, part in enumerate(loc):
        tag = isinstance(data, dict) and part not in data and depth + 1 < len(loc) and data.get("kind") == part
        if not tag and part != "[key]":
            key.append(part)
            data = _inside(data, part)
    return tuple(key)


def _inside(data: Any, part: str | int) -> Any:
    try:
        return data[part]
    except (KeyError, IndexError, TypeError):
        return None


def _text(kind: type[BaseModel], key: Key, details: ErrorDetails) -> str:
    name, value, context = ".".join(map(str, key)), details["input"], details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden" if key[-1] in AMBIGUOUS:
            message = f"unknown key; {AMBIGUOUS[str(key[-1])]}"
        case "extra_forbidden":
            message = f"unknown key; {suggest(str(key[-1]), _known(kind, details['loc'][:-1]))}"
        case "missing":
            message = "is missing; add it"
        case "list_type" if isinstance(value, bool | int | float | str):
            message = f"must be a list, got {value!r}; write [{json.dumps(value)}]"
        case "literal_error" | "union_tag_invalid":
            choices = re.findall("'([^']*)'", context.get("expected") or context["expected_tags"])
            value = context.get("tag", value)
            message = f"unknown value '{value}'; {suggest(str(value), choices)}"
            name += "" if "expected" in context else ".kind"
        case "union_tag_not_found":
            message = "`kind` is missing; it names the method, such as `kind: letkf`"
        case "string_pattern_mismatch":
            message = f"becomes a folder, so it may hold letters, digits, '_', '-' and '.' only; got '{value}'"
        case "located":
            message = context["text"]
        case _:
            message = f"{details['msg'].replace('Input should', 'must')}, got {value!r}"
    return f"{name}: {message}" if name else message


def _known(annotation: Any, loc: Key) -> list[str]:
    """Return the keys that the section at `loc` takes."""
    for part in loc:
        annotation = _step(annotation, part)
    return sorted(_sections(annotation)[0].model_fields)


def _step(annotation: Any, part: str | int) -> Any:
    """Return what the type `annotation` holds at `part`: a field, an item, or the member of a union tagged `part`."""
    sections = _sections(annotation)
    if len(sections) > 1:
        return next(section for section in sections if part in get_args(section.model_fields["kind"].annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_fields[str(part)].annotation
    return get_args(annotation)[-1]


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the section types in an annotation such as `A | B | None`; none of what a dict or list holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if getattr(annotation, "__origin__", None) in (dict, list):
        return []
    return [section for part in get_args(annotation) for section in _sections(part)]
