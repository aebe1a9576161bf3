"""The base of every configuration section, and errors that name the key they are about."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

__all__ = ["Section", "raise_located"]


class Section(BaseModel):
    """One section of a configuration: immutable, no unknown keys, no silent conversions, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def raise_located(section: Any, problems: Iterable[tuple[tuple[str | int, ...], str]]) -> None:
    """Raise one ValidationError for all `(key inside the section, message)` pairs; do nothing if there are none.

    For checks that span keys: pydantic alone would place them at the section, not at the key.
    """
    errors = [
        InitErrorDetails(
            type=PydanticCustomError("located", "{text}", {"text": text}), loc=key, input=_at(section, key)
        )
        for key, text in problems
    ]
    if errors:
        raise ValidationError.from_exception_data(type(section).__name__, errors)


def _at(section: Any, key: tuple[str | int, ...]) -> Any:
    for part in key:
        section = section.get(part) if isinstance(section, dict) else getattr(section, str(part), None)
    return section
