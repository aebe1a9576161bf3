"""The base of every configuration section, and errors that name the key they are about."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

__all__ = ["Section", "raise_located"]


class Section(BaseModel):
    """One section of a configuration: immutable, no unknown keys, no silent conversions, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def raise_located(
    section: Any, problems: Iterable[tuple[tuple[str | int, ...], str]], others: ValidationError | None = None
) -> None:
    """Raise one ValidationError for all `(key inside the section, message)` pairs; do nothing if there are none.

    For checks that span keys: pydantic alone would place them at the section, not at the key. What `others` holds is
    raised with them.
    """
    errors = [
        InitErrorDetails(
            type=PydanticCustomError("located", "{text}", {"text": text}), loc=key, input=_at(section, key)
        )
        for key, text in problems
    ] + [_again(details) for details in (others.errors() if others else [])]
    if errors:
        raise ValidationError.from_exception_data(type(section).__name__, errors)


def _again(details: ErrorDetails) -> InitErrorDetails:
    """Return what raises an error once more."""
    context = details.get("ctx", {})
    if details["type"] == "located":
        kind = PydanticCustomError("located", "{text}", context)
        return InitErrorDetails(type=kind, loc=details["loc"], input=details["input"])
    return InitErrorDetails(type=details["type"], loc=details["loc"], input=details["input"], ctx=context)


def _at(section: Any, key: tuple[str | int, ...]) -> Any:
    for part in key:
        section = section.get(part) if isinstance(section, dict) else getattr(section, str(part), None)
    return section
