"""How to train, as plain data."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from scoreda.diffusion.training.levels import LEVELS
from scoreda.diffusion.training.optimisers import LR_SHAPES, OPTIMISERS
from scoreda.errors import require_numbers, suggest

__all__ = ["NORMS", "PRECISIONS", "TrainSettings"]

NORMS = ("l2", "l1")
PRECISIONS = ("float32", "bfloat16", "float16")
CHOICES = {
    "norm": NORMS, "levels": tuple(LEVELS), "optimiser": tuple(OPTIMISERS), "lr_schedule": tuple(LR_SHAPES),
    "precision": PRECISIONS,
}  # fmt: skip
RANGES: tuple[tuple[str, Callable[[float], bool], tuple[str, ...]], ...] = (
    ("at least 1", lambda v: v >= 1, ("steps", "batch", "accumulate", "validate_every", "level_steps")),
    ("at least 0", lambda v: v >= 0, ("warmup", "weight_decay", "clip", "checkpoint_minutes", "seed")),
    ("in [0, 1]", lambda v: 0 <= v <= 1, ("condition_dropout", "lr_final")),
    ("in [0, 1)", lambda v: 0 <= v < 1, ("ema", "ema_extra", "beta2")),
    ("positive and finite", lambda v: 0 < v < math.inf, ("lr", "sigma_std")),
)


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        steps: Updates in all.
        batch: Samples per update, over all processes.
        accumulate: Parts that a process works through one after the other for one update: less memory, same loss.
        norm: `"l2"` (squared error) or `"l1"` (absolute error).
        levels: How noise levels are drawn: `"log_normal"`, `"uniform_time"` or `"uniform_step"`.
        sigma_mean, sigma_std: Of `log_normal`: ln(sigma / alpha) ~ N(mean, std^2), normalised units.
        level_steps: Of `uniform_step`: the number of steps, if the schedule has none of its own.
        learned_weighting: Whether a weight for every noise level is learned too, so that all come to count alike.
        mask: Whether NaN in the data means "not known": such entries are read as 0, the mean, and not counted.
        condition_dropout: Probability that a sample's condition is hidden, which trains the unconditional denoiser too.
        optimiser: `"adamw"` (decoupled decay) or `"adam"` (decay as an L2 penalty).
        lr: Peak learning rate.
        lr_schedule: How it falls after the warm-up: `"cosine"`, `"linear"`, `"exponential"`, or not: `"constant"`.
        lr_final: Last learning rate over the peak.
        warmup: Updates of linear rise to `lr`, at most a tenth of `steps`.
        beta2: Memory of the optimiser's second moment.
        weight_decay: The optimiser's.
        clip: Largest gradient norm; 0 for no limit.
        ema: Decay per update of the moving average of the weights that is kept.
        ema_extra: Decays of further averages, validated and checkpointed beside it.
        precision: `"float32"`, or autocast to `"bfloat16"` or `"float16"`; the weights stay float32.
        compile: Whether the loss and its gradient are compiled by `torch.compile`, the same up to rounding. It takes a
            C++ compiler and half a minute, and pays from some thousand updates on.
        deterministic: Whether operations that are not reproducible to the bit are replaced or refused.
        validate_every: Updates between validations.
        checkpoint_minutes: Minutes between checkpoints, whatever `validate_every`; 0 writes one after every update.
        seed: Of data order and noise.

    Raises:
        ValueError: if a number is none, not whole or out of range, or a name is not known.
    """

    steps: int = 20_000
    batch: int = 256
    accumulate: int = 1
    norm: str = "l2"
    levels: str = "log_normal"
    sigma_mean: float = -1.2
    sigma_std: float = 1.2
    level_steps: int = 1000
    learned_weighting: bool = False
    mask: bool = False
    condition_dropout: float = 0.0
    optimiser: str = "adamw"
    lr: float = 1e-3
    lr_schedule: str = "cosine"
    lr_final: float = 0.0
    warmup: int = 500
    beta2: float = 0.99
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    ema_extra: Sequence[float] = ()
    precision: str = "float32"
    compile: bool = False
    deterministic: bool = False
    validate_every: int = 1000
    checkpoint_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ema_extra", tuple(self.ema_extra))
        for field in fields(self):
            _check_numbers(field.name, getattr(self, field.name), field.type)
        for name, known in CHOICES.items():
            _check_choice(name, getattr(self, name), known)
        for what, holds, names in RANGES:
            for name in names:
                _check_range(name, getattr(self, name), what, holds)
        self._check_together()

    def _check_together(self) -> None:
        if self.accumulate > self.batch:
            raise ValueError(f"`accumulate` must be at most `batch` = {self.batch}, got {self.accumulate}.")
        if self.lr_schedule == "exponential" and self.lr_final <= 0:
            raise ValueError(f"`lr_final` must be positive for an exponential decay, got {self.lr_final}. Pass 0.01.")
        if len({self.ema, *self.ema_extra}) <= len(self.ema_extra):
            raise ValueError(f"`ema_extra` must differ from `ema` and in itself, got {self.ema}, {self.ema_extra}.")


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"`{name}` must be a known name, got '{value}'; {suggest(value, known)}")


def _check_numbers(name: str, value: Any, kind: Any) -> None:
    """Refuse what is no number, or not whole, where one is expected."""
    if kind in (int, float, Sequence[float]):
        for each in value if isinstance(value, tuple) else (value,):
            require_numbers(kind is int, **{name: each})


def _check_range(name: str, value: float | tuple[float, ...], what: str, holds: Callable[[float], bool]) -> None:
    if not all(map(holds, value if isinstance(value, tuple) else (value,))):
        raise ValueError(f"`{name}` must be {what}, got {value}.")
