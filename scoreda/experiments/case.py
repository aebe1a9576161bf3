"""The sections of a case: the system, what is observed of it and how well, where ensembles start, which methods run.

Names and settings of models, operators and errors are those of their constructors: what is registered there can be
named here.
"""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, create_model, model_validator

from scoreda.errors import suggest
from scoreda.experiments.constructed import Constructed, refused
from scoreda.experiments.methods import MethodSection
from scoreda.experiments.section import Problems, Section, raise_located
from scoreda.models import MODEL_ERRORS, MODELS, WithModelError, from_spec, model_error_from_spec
from scoreda.models.base import Model
from scoreda.observations import (
    ERRORS,
    FUNCTIONS,
    CorrelatedGaussianError,
    Elementwise,
    ErrorModel,
    EveryNth,
    Identity,
    Interpolated,
    Linear,
    MovingSites,
    NeighbourProducts,
    Network,
    Operator,
    RandomSites,
    Sites,
)

__all__ = ["Case", "Count", "DeterministicSection", "Index", "ModelSection", "Name", "ObservationsSection", "Positive"]

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # becomes the name of a folder

OPERATORS: dict[str, Any] = {
    "identity": Identity, "every": EveryNth, "sites": Sites, "random": RandomSites, "moving": MovingSites,
    "interpolated": Interpolated, "matrix": Linear, "products": NeighbourProducts,
}  # fmt: skip
OPERATOR_KEYS = (
    "step", "start", "sites", "number", "seed", "positions", "periodic", "matrix", "locations", "lag",
)  # fmt: skip
ERROR_KEYS = ("df", "covariance")


class DeterministicSection(Constructed):
    """A dynamical system of `scoreda.models`: its `name`, and the settings of its constructor."""

    default = "lorenz96"

    @classmethod
    def kinds(cls) -> Mapping[str, Any]:
        """Return the models by name."""
        return MODELS

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        raise_located(self, ((key[1:], text) for key, text in refused("model", self.build, self.model_dump())))
        return self

    def build(self) -> Model:
        """Return the model."""
        return from_spec(self.model_dump())


class ModelErrorSection(Constructed):
    """What a model gets wrong in each step: an error of `scoreda.models` by `name`."""

    default = "additive"

    @classmethod
    def kinds(cls) -> Mapping[str, Any]:
        """Return the model errors by name."""
        return MODEL_ERRORS


class ModelSection(DeterministicSection):
    """A dynamical system, and under `error` what is added to the state after each of its steps, if anything."""

    @classmethod
    def _schema(cls, kind: Any) -> type[Section]:
        return create_model(cls.__name__, __base__=super()._schema(kind), error=(ModelErrorSection | None, None))

    def build(self) -> Model:
        """Return the model, with its error."""
        spec = self.model_dump()
        error = spec.pop("error")
        return WithModelError(from_spec(spec), model_error_from_spec(error)) if error else from_spec(spec)


class ErrorSection(Section):
    """How large observation errors are, and their distribution: `error` is a name of `scoreda.observations`.

    A `covariance` takes the place of `obs_std` or `obs_variance` where errors are correlated, or of several sizes.
    """

    error: str | None = None
    df: float | None = None
    covariance: list[list[float]] | None = None
    obs_std: Positive | None = None
    obs_variance: Positive | None = None

    def _checks(self) -> Iterable[Problems]:
        return self._named("error", ERRORS, ERROR_KEYS, default="gaussian"), self._problems_of_size()

    def _problems_of_size(self) -> Problems:
        sizes = [key for key in ("obs_std", "obs_variance") if getattr(self, key) is not None]
        if self.error == CorrelatedGaussianError.name:
            yield from (((key,), "is the diagonal of the `covariance`; leave it out") for key in sizes)
        elif len(sizes) != 1:
            text = "give exactly one of obs_std (a standard deviation) and obs_variance (its square)"
            yield ("obs_variance",) if sizes else (), text

    def _named(self, key: str, kinds: Mapping[str, Any], settings: Sequence[str], default: str) -> Problems:
        """Yield the mistakes in a name, and in the settings that its constructor needs or does not take."""
        name = getattr(self, key) or default
        if name not in kinds:
            yield (key,), f"unknown value '{name}'; {suggest(name, kinds)}"
            return
        for setting in settings:
            given = getattr(self, setting) is not None
            takes = inspect.signature(kinds[name]).parameters.get(setting)
            if given and takes is None:
                users = [kind for kind in kinds if setting in inspect.signature(kinds[kind]).parameters]
                yield (setting,), f"goes with `{key}: {' or '.join(users)}`, not with {name}"
            elif not given and takes is not None and takes.default is takes.empty:
                yield (key,), f"`{name}` needs `{setting}`; add it"

    @property
    def variance(self) -> float:
        """The error variance, however it was given."""
        return self.obs_variance if self.obs_variance is not None else self.obs_std**2  # type: ignore[operator]

    def build_error(self, size: int) -> ErrorModel:
        """Return the error model of `size` observations."""
        if self.covariance is not None:
            return CorrelatedGaussianError(self.covariance)
        settings = {} if self.df is None else {"df": self.df}
        return ERRORS[self.error or "gaussian"](self.variance, size, **settings)


class ObservationsSection(ErrorSection):
    """What is observed, how well, and when.

    `operator` picks the variables: all (`identity`), `start, start + step, ...` (`every`), the listed `sites`, a
    `number` drawn from a `seed` once (`random`) or at every time (`moving`), `positions` between them
    (`interpolated`), the rows of a `matrix`, or `products` of two variables `lag` apart. `function` is applied to each
    of them. `missing` is the fraction of values lost at random. `assumed` is what the methods take the errors for,
    where that is not what they are. With `file`, the values of `obs (time, obs)` come from that netCDF file, and
    nothing is simulated.
    """

    operator: str = "identity"
    step: Count | None = None
    start: Index | None = None
    sites: list[int] | None = None
    number: Count | None = None
    seed: Index | None = None
    positions: list[float] | None = None
    periodic: bool | None = None
    matrix: list[list[float]] | None = None
    locations: list[float] | None = None
    lag: Count | None = None
    function: str | None = None
    interval: Positive | None = None
    times: list[Positive] | None = None
    missing: float = Field(default=0.0, ge=0, lt=1)
    assumed: ErrorSection | None = None
    file: str | None = None

    def _checks(self) -> Iterable[Problems]:
        named = self._named("operator", OPERATORS, OPERATOR_KEYS, default="identity")
        return *super()._checks(), named, self._problems_of_function(), self._problems_of_interval()

    def _problems_of_function(self) -> Problems:
        if self.function is not None and self.function not in FUNCTIONS:
            yield ("function",), f"unknown value '{self.function}'; {suggest(self.function, FUNCTIONS)}"

    def _problems_of_interval(self) -> Problems:
        if (self.interval is None) == (self.times is None):
            text = "give exactly one of interval (between observations) and times (of all of them)"
            yield () if self.interval is None else ("times",), text

    def build_operator(self, size: int) -> Operator | MovingSites:
        """Return the operator on states of `size` variables; ValueError if a setting does not fit them."""
        kind, settings = OPERATORS[self.operator], self.model_dump(include=set(OPERATOR_KEYS), exclude_none=True)
        takes = inspect.signature(kind).parameters
        own = {"state_size": size, "function": self.function}
        operator = kind(**settings, **{key: value for key, value in own.items() if key in takes})
        if operator.state_size != size:
            raise ValueError(f"the `matrix` has {operator.state_size} columns, the state {size} variables.")
        return Elementwise(operator, self.function) if self.function and "function" not in takes else operator

    def build(self, size: int) -> Network:
        """Return the network on states of `size` variables; ValueError if something does not fit."""
        operator = self.build_operator(size)
        when: dict[str, Any] = {"times": self.times} if self.interval is None else {"interval": self.interval}
        return Network(operator, self.build_error(operator.size), **when)

    def assumed_error(self, size: int) -> ErrorModel | None:
        """Return what the methods take the errors for; None for what they are."""
        return self.assumed.build_error(size) if self.assumed else None


class InitialSection(Section):
    """Where the ensembles start: around the truth with standard deviation `std`, or from the climate."""

    kind: Literal["truth", "climatology"] = "truth"
    std: Positive = 1.0


class SourcedSection(Section):
    """A published or measured score, to stand beside ours, and where it is from."""

    rmse_a: Positive
    source: str

    def _checks(self) -> Iterable[Problems]:
        return (self._problems_of_source(),)

    def _problems_of_source(self) -> Problems:
        if not self.source.strip():
            text = f"must say where the score is from, got {self.source!r}; write the paper and its table"
            yield ("source",), text


class ExpectedSection(SourcedSection):
    """What a method scores elsewhere; `locked` if that leaves out the cycles in which it had lost the truth."""

    locked: bool = False


class Case(Section):
    """One twin experiment and the methods that are run on it.

    `model` is what the methods run; `truth` makes the truth where that is another one. `cycles` is the number of
    observation times (with a file of observations, or with `times`: all of them if not given), `burn_in` how many of
    the first are not scored, `lock_level` the RMSE that tells tracking from being lost, `floor` an RMSE below which no
    method is thought to get.
    """

    title: str = ""
    model: ModelSection = Field(default_factory=lambda: ModelSection.model_validate({}))
    truth: ModelSection | None = None
    observations: ObservationsSection
    initial: InitialSection = InitialSection()
    cycles: Count | None = None
    burn_in: Index = 0
    spinup: Positive = 20.0
    lock_level: Positive | None = None
    members: int = Field(default=20, ge=2)
    methods: dict[Name, MethodSection] = Field(min_length=1)
    expected: dict[str, ExpectedSection] = {}
    floor: SourcedSection | None = None

    def _checks(self) -> Iterable[Problems]:
        return (
            self._problems_of_observations(), self._problems_of_steps(), self._problems_of_cycles(),
            self._problems_of_methods(),
        )  # fmt: skip

    def _problems_of_cycles(self) -> Problems:
        if not (self.cycles or self.observations.file or self.observations.times):
            yield ("cycles",), "is missing; add the number of observation times"
        if self.cycles is not None and self.burn_in >= self.cycles:
            yield ("burn_in",), f"must be smaller than cycles = {self.cycles}, got {self.burn_in}"

    def _problems_of_methods(self) -> Problems:
        for name, settings in self.methods.items():
            if settings.tune and self.observations.file:
                yield ("methods", name, "tune"), "needs twins to try settings on; a file of observations is no twin"
        for name in self.expected:
            if name not in self.methods:
                yield ("expected", name), f"is no method of this case; {suggest(name, self.methods)}"

    def _problems_of_observations(self) -> Problems:
        size, given = self.model.build().size, self.observations.model_dump(exclude_none=True)
        named = [key for key in OPERATOR_KEYS if key in given] or ["operator"]
        for key, text in refused("observations", lambda: self.observations.build(size), given):
            yield key if len(key) > 1 else (*key, named[0]), text

    def _problems_of_steps(self) -> Problems:
        for section in filter(None, (self.model, self.truth)):
            yield from self._problems_of_times(section.build().dt)

    def _problems_of_times(self, dt: float) -> Problems:
        key = "interval" if self.observations.times is None else "times"
        gaps = np.diff(self.observations.times or [self.observations.interval or dt], prepend=0.0).tolist()
        broken = [gap for gap in gaps if not math.isclose(gap / dt, max(1, round(gap / dt)), rel_tol=1e-6)]
        for gap in broken[:1]:
            text = f"must be a whole number of model steps: {gap:g} is {gap / dt:g} steps of dt = {dt:g}"
            yield ("observations", key), text

    @property
    def length(self) -> int | None:
        """The number of observation times; None for all in a file."""
        return self.cycles or (len(self.observations.times) if self.observations.times else None)

    def needs_prior(self) -> bool:
        """Return whether any method uses the learned prior."""
        return any("prior" in method.uses().values() for method in self.methods.values())

    def members_of(self, method: str) -> int:
        """Return the ensemble size of a method: its own, or the case's."""
        return self.methods[method].members or self.members
