"""What a training takes, and how it stays within --memory: samples on disk, batches in parts."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from scoreda.errors import ScoredaError
from scoreda.experiments.memory import LIBRARIES, TORCH, readable
from scoreda.experiments.training_data import known_shape
from scoreda.experiments.training_denoiser import make_denoiser
from scoreda.experiments.training_stream import (
    PART_BYTES,
    check_streamable,
    held_out_samples,
    samples_bytes,
    streamable,
)
from scoreda.models import from_spec

__all__ = ["UNLIMITED", "TrainingPlan", "training_plan"]

Settings = Mapping[str, Any]

FLOAT = 4
# The samples, their normalised copy, and the double-precision copy of which the standard deviation is taken.
COPIES = 4
MASKED = 2.25  # the samples without gaps, and what is known of them, over the samples
IN_BATCH = 4  # a batch as it is read and normalised, its noise, and the part under way
IN_OPTIMISER = 3  # weights and two moments; gradients are counted with the activations
# Resident over live memory while tensors are made and freed: 1.0 to 2.3 measured, the rest being holes in the heap.
HEAP = 2.4


class TrainingPlan(NamedTuple):
    """How a training is run.

    Attributes:
        held: Whether the samples are in memory, and not read from their file when a batch asks for them.
        at_once: Most samples that go through the network together; None for those that the settings ask for.
        making: Bytes while the samples are made, by what they are for.
        training: Bytes while it is trained.
    """

    held: bool = True
    at_once: int | None = None
    making: Mapping[str, float] = {}
    training: Mapping[str, float] = {}

    @property
    def bytes(self) -> float:
        """The larger of both."""
        return max(sum(self.making.values()), sum(self.training.values()))

    def lines(self, settings: Settings, memory: float) -> Iterator[str]:
        """Yield what is done to stay within it, in words."""
        if not self.held:
            yield f"samples: too many for --memory {readable(memory)}, so they stay on disk, and batches are read there"
        if self.at_once is not None:
            parts = max(settings["train"]["accumulate"], -(-settings["train"]["batch"] // self.at_once))
            yield f"batches: in {parts} parts of up to {self.at_once} samples, as with train.accumulate={parts}"

    def __str__(self) -> str:
        """Return the larger sum and its parts in words."""
        stages = {"while the samples are made": self.making, "while it is trained": self.training}
        when, parts = max(stages.items(), key=lambda stage: sum(stage[1].values()))
        listed = ", ".join(f"{readable(size)} of {name}" for name, size in parts.items() if size)
        return f"at most {readable(self.bytes)}, {when}: {listed}"


UNLIMITED = TrainingPlan()


def training_plan(settings: Settings, memory: float = math.inf, processes: int = 1) -> TrainingPlan:
    """Return how a training is run within `memory` bytes: as it is, with samples on disk, or in parts of a batch too.

    Args:
        settings: A resolved `Training` configuration.
        memory: Of one process; its network is counted as one on the CPU.
        processes: That share every batch.

    Raises:
        ScoredaError: if one sample at a time does not fit, or the samples do not and cannot stay on disk.
    """
    if known_shape(settings) is None:  # no file to ask yet
        return UNLIMITED
    share = -(-settings["train"]["batch"] // processes)
    ways = (True, False) if streamable(settings) else (True,)
    for at_once in _fewer(-(-share // settings["train"]["accumulate"])):
        updated = _updated(settings, share, at_once)
        plans = [_plan(settings, held, at_once, updated) for held in ways]
        for plan in plans:
            if plan.bytes <= memory:
                return plan
    if _plan(settings, False, 1, updated).bytes <= memory:
        check_streamable(settings)
    raise ScoredaError(
        f"--memory {readable(memory)} is too little even if samples go through the network one by one. It takes "
        f"{plans[-1]}. Give --memory {math.ceil(plans[-1].bytes / 1e6)}MB, or take a smaller network."
    )


def _fewer(number: int) -> Iterator[int | None]:
    """Yield how many samples may go through the network at once: no limit, then half as many each time."""
    yield None
    while number >= 1:
        yield number
        number = -(-number // 2) if number > 1 else 0


def _plan(settings: Settings, held: bool, at_once: int | None, updated: dict[str, float]) -> TrainingPlan:
    """Return a plan and what it takes, with what an update takes."""
    libraries = {"libraries": LIBRARIES + TORCH}
    making, kept = _samples(settings, held)
    return TrainingPlan(held, at_once, libraries | making, libraries | kept | updated)


def _samples(settings: Settings, held: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return what samples take while they are made, and afterwards."""
    valid = FLOAT * float(len(held_out_samples(settings)) * math.prod(known_shape(settings) or ()))
    kept = samples_bytes(settings) if held else valid
    made = COPIES * kept if held else PART_BYTES + COPIES * valid
    simulated = {"the archive under way": _simulated(settings)} if "system" in settings else {}
    return simulated | {"samples": made}, {"samples": kept * (MASKED if settings["train"]["mask"] else 1.0)}


def _simulated(settings: Settings) -> float:
    """Return the bytes of the trajectories that are simulated together."""
    from scoreda.datasets.archive import CHUNK

    system = settings["system"]
    together = min(CHUNK, system["trajectories"])
    return FLOAT * float(together * system["states"] * from_spec(system["model"]).size)


def _updated(settings: Settings, share: int, at_once: int | None) -> dict[str, float]:
    """Return what the network takes: weights, averages, and what an update and a validation hold at a time."""
    from scoreda.diffusion.training import footprint
    from scoreda.diffusion.training.trainer import VALIDATION_BATCH

    shape, train = known_shape(settings) or (), settings["train"]
    denoiser = make_denoiser(settings, shape)
    parameters = sum(p.numel() for p in denoiser.parameters())
    validated = min(VALIDATION_BATCH, len(held_out_samples(settings)))
    most = -(-share // train["accumulate"])
    update, validation = (
        footprint(denoiser, shape, min(number, at_once or number), train["norm"], learning)
        for number, learning in ((most, True), (validated, False))
    )
    return {
        "weights, averages and optimiser": FLOAT * float(parameters * (IN_OPTIMISER + 1 + len(train["ema_extra"]))),
        "the batch": FLOAT * float(IN_BATCH * max(train["batch"], validated) * math.prod(shape)),
        "activations and gradients": HEAP * max(update, validation),
    }
