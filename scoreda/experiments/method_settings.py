"""What the settings of every method have in common: how they are tuned, what the method is made from, and wrappers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from scoreda.errors import suggest
from scoreda.experiments.section import Problems, Section, raise_located
from scoreda.experiments.yaml_source import Key

if TYPE_CHECKING:
    from scoreda.assimilation.protocol import Method
    from scoreda.datasets import Climatology
    from scoreda.diffusion import Prior
    from scoreda.models import Model

__all__ = ["Count", "GaussianFilter", "Inflatable", "Likely", "Parts", "Positive", "Settings"]

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

MOST_TRIALS = 20  # of one method on one case: the same budget for all of them
NOT_TUNED = frozenset({"kind", "members", "tune"})


@dataclass(frozen=True)
class Parts:
    """What methods are made from; `climatology` and `prior` are computed or loaded by the first call."""

    model: "Model"
    climatology: Callable[[], "Climatology"]
    prior: Callable[[], "Prior"]


class Settings(Section):
    """What every method has: a size of its own, if not the case's, and values to `tune` some of its settings over.

    Every combination of those values is a trial. A setting that is tuned may be left out otherwise.

    Attributes:
        home: Module and name of the constructor.
        ingredients: What it takes besides the model and the settings: argument to name in `Parts`.
        ours: Settings that are not arguments of the constructor.
    """

    home: ClassVar[tuple[str, str]]
    ingredients: ClassVar[Mapping[str, str]] = {}
    ours: ClassVar[frozenset[str]] = NOT_TUNED

    members: int | None = Field(default=None, ge=2)
    tune: dict[str, Annotated[list[Any], Field(min_length=1)]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _start(cls, given: Any) -> Any:
        """Give the settings that are tuned, and left out otherwise, their first values."""
        tune = given.get("tune") if isinstance(given, dict) else None
        if not isinstance(tune, dict):
            return given
        starts = {
            key: values[0] if isinstance(values, list) else values for key, values in tune.items() if values != []
        }
        return {key: start for key, start in starts.items() if key in cls.model_fields} | given

    @field_validator("tune", mode="wrap")
    @classmethod
    def _known(cls, given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Name keys that are no settings beside values that are no lists."""
        known = cls.model_fields.keys() - NOT_TUNED
        names = [name for name in given if name not in known] if isinstance(given, dict) else []
        unknown = [((name,), f"is no setting of this method; {suggest(str(name), known)}") for name in names]
        try:
            tune = handler(given)
        except ValidationError as error:
            raise_located(given, unknown, error)
            raise
        raise_located(tune, unknown)
        return tune

    @model_validator(mode="after")
    def _tunable(self) -> Self:
        raise_located(self, self._problems_of_tuning())
        return self

    def _problems_of_tuning(self) -> Iterator[tuple[Key, str]]:
        for name, values in (self.tune or {}).items():
            for index, value in enumerate(values):
                yield from (((*("tune", name), index), text) for text in self._refuses({name: value}))
        if len(self.trials()) > MOST_TRIALS:
            yield ("tune",), f"gives {len(self.trials())} trials; every method has {MOST_TRIALS}. Give fewer values."

    def _refuses(self, change: dict[str, Any]) -> Iterator[str]:
        """Yield why settings cannot be changed as said."""
        try:
            self.changed(change)
        except ValidationError as error:
            for details in error.errors():
                got = "" if details["type"] == "located" else f", got {details['input']!r}"
                yield details["msg"].replace("Input should", "must") + got

    def trials(self) -> list[dict[str, Any]]:
        """Return every combination of the values to tune over; one that is empty if there are none."""
        tune = self.tune or {}
        return [dict(zip(tune, values, strict=True)) for values in product(*tune.values())]

    def changed(self, change: Mapping[str, Any]) -> Self:
        """Return these settings with some changed, and nothing to tune."""
        return self.model_validate(self.model_dump(exclude={"tune"}) | dict(change))

    def uses(self) -> Mapping[str, str]:
        """Return the ingredients needed with these settings."""
        return self.ingredients

    def arguments(self) -> dict[str, Any]:
        """Return the settings that go to the constructor."""
        return self.model_dump(exclude=set(self.ours))

    def build(self, parts: Parts) -> "Method":
        """Return the method."""
        module, name = self.home
        ingredients = {argument: getattr(parts, part)() for argument, part in self.uses().items()}
        return getattr(import_module(module), name)(parts.model, **self.arguments(), **ingredients)

    def tuning(self) -> str:
        """Return the settings that differ from the defaults in one line, for tables."""
        settings = self.model_dump(exclude=set(NOT_TUNED), exclude_defaults=True)
        return " ".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in settings.items()
        )


class Likely(Settings):
    """What methods have that take errors for Gaussian: `sites`, the sweeps that match others; 0 takes them as given."""

    ours = Settings.ours | {"sites"}
    sites: int = Field(default=0, ge=0)

    def build(self, parts: Parts) -> "Method":
        """Return the method, given sites in the place of observations if there are to be some."""
        from scoreda.assimilation import LikelihoodAware

        method = super().build(parts)
        return LikelihoodAware(method, self.sites) if self.sites else method


class Inflatable(Settings):
    """What filters have whose ensembles can be inflated from outside.

    Attributes:
        rtps: Relaxation of the analysis to the forecast's spread; 1 restores it.
        rtpp: Relaxation to the forecast's perturbations; members must not be rotated.
        adaptive: How far an inflation estimated from the innovations may drift between two observation times.
    """

    ours = Settings.ours | {"rtps", "rtpp", "adaptive"}
    rtps: float | None = Field(default=None, ge=0)
    rtpp: float | None = Field(default=None, ge=0)
    adaptive: Positive | None = None

    def _checks(self) -> Iterable[Problems]:
        return (self._problems_of_rotation(),)

    def _problems_of_rotation(self) -> Problems:
        if self.rtpp is not None and getattr(self, "rotate", False):
            text = "mixes members of the analysis with those of the forecast, but this method rotates them"
            yield ("rtpp",), f"{text}; write `rotate: false`, or use `rtps`"

    def build(self, parts: Parts) -> "Method":
        """Return the method inside the inflation schemes asked for."""
        from scoreda.assimilation import RTPP, RTPS, Adaptive, Inflated

        method = super().build(parts)
        for scheme, setting in ((Adaptive, self.adaptive), (RTPS, self.rtps), (RTPP, self.rtpp)):
            method = method if setting is None else Inflated(method, scheme(setting))
        return method


class GaussianFilter(Inflatable, Likely):
    """What filters have that take errors for Gaussian."""

    ours = Inflatable.ours | Likely.ours
