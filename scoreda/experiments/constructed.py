"""Sections that name a class and hold the settings of its constructor: its signature is the schema.

A network or a schedule that is registered is thereby one that configurations can name, with the constructor's names,
types and defaults; what the types cannot say, the constructor itself refuses.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, ValidationError, create_model, model_validator

from scoreda.errors import suggest
from scoreda.experiments.section import Section, raise_located
from scoreda.experiments.yaml_source import Key

__all__ = ["Constructed", "DenoiserSection", "NetworkSection", "ScheduleSection", "refused"]

PLAIN = (bool, int, float, str)


class Arguments(Section):
    """Arguments of a constructor; tuples and tensors may be written as the lists of a file."""

    model_config = ConfigDict(strict=False, arbitrary_types_allowed=True)


class Constructed(Section):
    """A class by `name`, and settings of its constructor, the missing ones filled in.

    Attributes:
        default: The name if none is given.
        decided: Arguments of the constructor that the data decide.
    """

    model_config = ConfigDict(extra="allow")
    default: ClassVar[str]
    decided: ClassVar[frozenset[str]] = frozenset()

    name: str

    @classmethod
    def kinds(cls) -> Mapping[str, Any]:
        """Return the classes by name."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name, kinds = given.get("name", cls.default), cls.kinds()
        if name not in kinds:
            raise_located(given, [(("name",), f"unknown value '{name}'; {suggest(str(name), kinds)}")])
        schema = cls._schema(kinds[name])
        settings = {key: value for key, value in given.items() if key != "name"}
        known = schema.model_fields
        unknown = [((key,), f"unknown key; {suggest(key, known)}") for key in settings if key not in known]
        try:
            complete = schema.model_validate({key: value for key, value in settings.items() if key in known})
        except ValidationError as error:
            raise_located(given, unknown, error)
            raise
        raise_located(given, unknown)
        return {"name": name, **complete.model_dump()}

    @classmethod
    def _schema(cls, kind: Any) -> type[Section]:
        """Return a section with one field for every argument of a constructor that the data do not decide."""
        arguments = inspect.signature(kind).parameters.items()
        fields: dict[str, Any] = {name: _field(argument) for name, argument in arguments if name not in cls.decided}
        return create_model(cls.__name__, __base__=Arguments, **fields)


class InnerNetworkSection(Constructed):
    """A network inside a network, all its settings given."""

    default = "convnet1d"

    @classmethod
    def kinds(cls) -> Mapping[str, Any]:
        """Return the networks by name."""
        from scoreda.diffusion.networks import NETWORKS

        return NETWORKS


class NetworkSection(InnerNetworkSection):
    """A network of `scoreda.diffusion.networks`; its channels are those of the data."""

    decided = frozenset({"channels", "conditioning"})


class DenoiserSection(Constructed):
    """What the network's output stands for: `karras`, or a target of `scoreda.diffusion.denoisers` by its name.

    The name alone will do in place of a section.
    """

    default = "karras"
    decided = frozenset({"network", "schedule", "target"})

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @classmethod
    def kinds(cls) -> Mapping[str, Any]:
        """Return the constructors by name."""
        from scoreda.diffusion.denoisers import TARGETS, KarrasDenoiser, TargetDenoiser

        return {"karras": KarrasDenoiser} | {name: partial(TargetDenoiser, target=name) for name in TARGETS}


class ScheduleSection(Constructed):
    """A noise schedule of `scoreda.diffusion.schedules`."""

    default = "edm"

    @classmethod
    def kinds(cls) -> Mapping[str, Any]:
        """Return the schedules by name."""
        from scoreda.diffusion.schedules import SCHEDULES

        return SCHEDULES


def refused(section: str, build: Callable[[], Any], settings: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    """Yield where and why a constructor refuses its settings: at the first setting that its message speaks of."""
    try:
        build()
    except ValueError as error:
        spoken = [word for word in re.findall(r"\w+", str(error)) if word in settings.keys() - {"name"}]
        yield (section, *spoken[:1]), str(error)


def _field(argument: inspect.Parameter) -> tuple[Any, Any]:
    """Return type and default; YAML has no tuples, so only plain values are held to their exact type."""
    annotation = InnerNetworkSection if argument.name == "network" else argument.annotation
    default = ... if argument.default is argument.empty else argument.default
    return annotation, Field(default=default, strict=True) if annotation in PLAIN else default
