"""The base of every configuration section, and errors that name the key they are about."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

__all__ = ["Problems", "Section", "raise_located"]

Problems = Iterator[tuple[tuple[str | int, ...], str]]  # key inside the section, message


class Section(BaseModel):
    """One section of a configuration: immutable, no unknown keys, no silent conversions, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def _checks(self) -> Iterable[Problems]:
        """Return checks that span keys, each of which looks at the keys it needs and no others."""
        return ()

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Run the checks; where single keys are wrong already, those that need none of them."""
        try:
            section = handler(given)
        except ValidationError as error:
            raise_located(given, _problems_of_part(cls, given, error) if isinstance(given, dict) else (), error)
            raise
        raise_located(section, (problem for check in section._checks() for problem in check))
        return section


def _problems_of_part(kind: type[Section], given: dict[str, Any], error: ValidationError) -> Problems:
    """Yield what is wrong between those keys of a section that are right by themselves."""
    if kind._checks is Section._checks:
        return
    wrong = {str(details["loc"][0]) for details in error.errors() if details["loc"]}
    right: dict[str, Any] = {
        name: field.annotation for name, field in kind.model_fields.items() if name in given and name not in wrong
    }
    part = kind.model_construct(**{name: TypeAdapter(t).validate_python(given[name]) for name, t in right.items()})
    for name in wrong & part.__dict__.keys():  # defaults, in the place of what is wrong
        del part.__dict__[name]
    for check in part._checks():
        with suppress(AttributeError):  # the check needs a key that is wrong
            yield from check


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
