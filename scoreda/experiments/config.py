"""What a configuration file may hold: one model per YAML section, and errors that name file, line and key.

`load_config` is the one door. It reports every mistake at once, each as `file:line: key: message`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from scoreda.errors import ScoredaError
from scoreda.experiments.case import Case, Count, DeterministicSection, Index, Name, Positive
from scoreda.experiments.complaints import complaints
from scoreda.experiments.constructed import DenoiserSection, NetworkSection, ScheduleSection, refused
from scoreda.experiments.section import Problems, Section
from scoreda.experiments.training_denoiser import make_denoiser, make_network
from scoreda.experiments.yaml_source import Source, read_source

__all__ = ["Case", "Experiment", "Training", "completed", "load_any", "load_config", "load_experiments", "resolved"]


class TuningSection(Section):
    """How the settings under `tune:` are chosen: every combination for `cycles`, the `finalists` for `final_cycles`.

    Each seed has a twin of its own. The limits keep any method within 30,000 cycles over both rounds and two seeds.
    """

    seeds: list[Annotated[int, Field(ge=101)]] = Field(default=[101, 102], min_length=1, max_length=2)
    cycles: Count = Field(default=300, le=300)
    burn_in: Index = 100
    finalists: Count = Field(default=4, le=4)
    final_cycles: Count = Field(default=2200, le=2200)

    def _checks(self) -> Iterable[Problems]:
        return (self._problems_of_cycles(),)

    def _problems_of_cycles(self) -> Problems:
        if self.burn_in >= self.cycles:
            yield ("burn_in",), f"must be smaller than cycles = {self.cycles}, got {self.burn_in}"


class Experiment(Section):
    """Every case x method x seed of a benchmark.

    `twin_seed` makes truth and observations, for every seed other ones with `twin_per_seed`; `seeds` everything that
    the methods draw. `ensembles: false` keeps the scores of a run but not its analysis. `prior` is the name of a
    shipped prior, or a folder; runs add its fingerprint `prior_sha256`, so that a folder never mixes results of two
    priors.
    """

    name: Name
    prior: str = "lorenz96"
    prior_sha256: str | None = None
    twin_seed: Index = 0
    twin_per_seed: bool = False
    seeds: list[Index] = Field(default=[1], min_length=1)
    ensembles: bool = True
    tuning: TuningSection = TuningSection()
    cases: dict[Name, Case] = Field(min_length=1)

    def _checks(self) -> Iterable[Problems]:
        return self._problems_of_seeds(), self._problems_of_tuning()

    def _problems_of_seeds(self) -> Problems:
        twice = sorted(seed for seed, count in Counter(self.seeds).items() if count > 1)
        if twice:
            yield ("seeds",), f"must differ, but {twice} are given more than once; the same seed gives the same run"

    def _problems_of_tuning(self) -> Problems:
        common = sorted({*self.seeds} & {*self.tuning.seeds})
        if common and self.tunes():
            text = f"{common} are the seeds of the tuning too; a method must not be tuned on what it is scored on"
            yield ("seeds",), text

    def untuned(self) -> "Experiment":
        """Return the experiment with all settings as they are written, and nothing to tune."""
        changed = {
            name: {"methods": {key: method.changed({}) for key, method in case.methods.items()}}
            for name, case in self.cases.items()
        }
        cases = {name: case.model_copy(update=changed[name]) for name, case in self.cases.items()}
        return self.model_copy(update={"cases": cases})

    def tunes(self) -> bool:
        """Return whether any method has settings to be tuned."""
        return any(method.tune for case in self.cases.values() for method in case.methods.values())

    def cells(self) -> Iterator[tuple[str, str, int]]:
        """Yield `(case, method, seed)` in the order of the file."""
        for case, settings in self.cases.items():
            for method in settings.methods:
                for seed in self.seeds:
                    yield case, method, seed

    def needs_prior(self) -> bool:
        """Return whether any method uses the learned prior."""
        return any(case.needs_prior() for case in self.cases.values())


class SystemSection(Section):
    """An archive to simulate: `trajectories` independent runs, `states` kept of each, `interval` model steps apart."""

    model: DeterministicSection = Field(default_factory=lambda: DeterministicSection.model_validate({}))
    trajectories: int = Field(ge=2)
    states: Count
    interval: Count = 1
    spinup: Positive = 20.0
    seed: int = Field(default=0, ge=0)


class DataSection(Section):
    """Any netCDF file as an archive.

    `space` is the dimension of the field, or the two of them, `split` the one whose last part is held out (time, or
    trajectory), `channels` one that a sample has all of; every other dimension holds samples. `select` cuts dimensions
    to `[start, stop]` by position. With `harmonics`, `split` holds dates, and the mean annual cycle of what is left
    (its mean and so many harmonics) is removed.
    """

    file: str
    variable: str
    space: str | Annotated[list[str], Field(min_length=1, max_length=2)] = "space"
    split: str = "time"
    channels: str | None = None
    select: dict[str, list[int]] = {}
    harmonics: Count | None = None


class WindowSection(Section):
    """Samples that are windows of time: `frames` successive states are the channels; starts are `stride` apart.

    `time` is the dimension of time in a file of `data`.
    """

    frames: Count
    stride: Count = 1
    time: str = "time"


class PreviewSection(Section):
    """Samples drawn after every validation, by `steps` Heun steps; `size` holds the points along each axis of space."""

    number: Count = 8
    size: Annotated[list[Count], Field(min_length=1, max_length=2)] | None = None
    steps: Count = 18
    seed: int = Field(default=0, ge=0)


class TrainSection(Section):
    """The fields of `scoreda.diffusion.training.TrainSettings` that make sense without conditions."""

    steps: Count = 20_000
    batch: Count = 256
    accumulate: Count = 1
    norm: Literal["l2", "l1"] = "l2"
    levels: Literal["log_normal", "uniform_time", "uniform_step"] = "log_normal"
    sigma_mean: float = -1.2
    sigma_std: Positive = 1.2
    level_steps: Count = 1000
    learned_weighting: bool = False
    mask: bool = False
    optimiser: Literal["adamw", "adam"] = "adamw"
    lr: Positive = 1e-3
    lr_schedule: Literal["cosine", "constant", "linear", "exponential"] = "cosine"
    lr_final: float = Field(default=0.0, ge=0, le=1)
    warmup: int = Field(default=500, ge=0)
    beta2: float = Field(default=0.99, gt=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    clip: float = Field(default=1.0, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    ema_extra: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(default=(), strict=False)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    deterministic: bool = False
    validate_every: Count = 1000
    checkpoint_minutes: float = Field(default=5.0, ge=0)
    seed: int = Field(default=0, ge=0)


class Training(Section):
    """How a prior is learned: from a simulated `system` or from `data`.

    `denoiser` is what the network's output stands for. The last `valid_fraction` of the trajectories is held out;
    `valid_every` thins it.
    """

    name: Name
    system: SystemSection | None = None
    data: DataSection | None = None
    window: WindowSection | None = None
    network: NetworkSection = Field(default_factory=lambda: NetworkSection.model_validate({}))
    schedule: ScheduleSection = Field(default_factory=lambda: ScheduleSection.model_validate({}))
    denoiser: DenoiserSection = Field(default_factory=lambda: DenoiserSection.model_validate({}))
    train: TrainSection = TrainSection()
    preview: PreviewSection | None = None
    valid_fraction: float = Field(default=0.05, gt=0, lt=1)
    valid_every: Count = 1

    def _checks(self) -> Iterable[Problems]:
        return (
            self._problems_of_source(), self._problems_of_windows(), self._problems_of_schedule(),
            self._problems_of_training(), self._problems_of_network(), self._problems_of_denoiser(),
        )  # fmt: skip

    def _problems_of_source(self) -> Problems:
        if (self.system is None) == (self.data is None):
            yield (
                () if self.system is None else ("data",),
                "give exactly one of `system` (to simulate) and `data` (a file)",
            )

    def _problems_of_windows(self) -> Problems:
        if self.window and self.data and self.data.channels:
            yield ("data", "channels"), "the frames of a `window` are the channels; give one of the two"
        if self.window and self.system and self.window.frames > self.system.states:
            yield ("window", "frames"), f"must be at most system.states = {self.system.states}"
        if self.train.mask and self.data and self.data.harmonics:
            yield ("data", "harmonics"), "an annual cycle cannot be fitted to data with gaps; give a file of anomalies"

    def _problems_of_schedule(self) -> Problems:
        from scoreda.diffusion.schedules import schedule_from_spec

        schedule = self.schedule.model_dump()
        yield from refused("schedule", lambda: schedule_from_spec(schedule), schedule)

    def _problems_of_training(self) -> Problems:
        from scoreda.diffusion.training import TrainSettings

        train = self.train.model_dump()
        yield from refused("train", lambda: TrainSettings(**train), train)

    def _problems_of_network(self) -> Problems:
        network = self.network.model_dump()
        yield from refused("network", lambda: make_network(network, seed=0), network)

    def _problems_of_denoiser(self) -> Problems:
        parts = dict(schedule=self.schedule, network=self.network, denoiser=self.denoiser, train=self.train)
        settings = {name: part.model_dump() for name, part in parts.items()}
        if not [*self._problems_of_schedule(), *self._problems_of_network()]:
            yield from refused("denoiser", lambda: make_denoiser(settings), settings["denoiser"])


S = TypeVar("S", bound=Section)


def load_config(kind: type[S], path: Path | str, overrides: Sequence[str] = ()) -> S:
    """Read and check a configuration.

    Raises:
        ScoredaError: with one line for every mistake, `file:line: key: message`.
    """
    return _checked(kind, read_source(path, overrides))


def load_experiments(paths: Sequence[Path | str], overrides: Sequence[str] = ()) -> list[Experiment]:
    """Read and check configurations that are to run together, each into the folder of its name.

    Raises:
        ScoredaError: as `load_config`, and if two have one name.
    """
    found = [load_config(Experiment, path, overrides) for path in paths]
    for config in found:
        same = [str(path) for path, other in zip(paths, found, strict=True) if other.name == config.name]
        if len(same) > 1:
            raise ScoredaError(
                f"{' and '.join(same)} are all called '{config.name}', and each would run into the folder of its name. "
                "Give each file once, and each `name` to one of them; or run them one by one, each with its own --out."
            )
    return found


def load_any(path: Path | str, overrides: Sequence[str] = ()) -> Experiment | Training:
    """Read a configuration of either kind; a training one holds `system` or `data`."""
    source = read_source(path, overrides)
    if {"system", "data"} & source.data.keys():
        return _checked(Training, source)
    return _checked(Experiment, source)


def resolved(config: Section) -> dict[str, Any]:
    """Return the configuration with every default filled in, as plain data that reads back equal."""
    return config.model_dump(mode="json", exclude_none=True)


def completed(earlier: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment as an earlier version wrote it, with the defaults that have come since then."""
    try:
        return resolved(Experiment.model_validate(earlier))
    except ValidationError:
        return earlier


def _checked(kind: type[S], source: Source) -> S:
    try:
        return kind.model_validate(source.data)
    except ValidationError as error:
        raise ScoredaError("\n".join(complaints(kind, source, error))) from error
