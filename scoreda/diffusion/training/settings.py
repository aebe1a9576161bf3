"""How to train, as plain data."""

from dataclasses import dataclass

__all__ = ["TrainSettings"]


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        steps: Updates in all.
        batch: Samples per update.
        lr: Peak learning rate, then decayed along a cosine to zero.
        warmup: Updates of linear rise to `lr`, at most a tenth of `steps`.
        weight_decay: AdamW's.
        clip: Largest gradient norm.
        ema: Decay of the moving average of the weights, per update.
        sigma_mean, sigma_std: Training noise, ln sigma ~ N(mean, std^2), normalised units.
        precision: `"float32"` or `"bfloat16"` (autocast; the weights stay float32).
        validate_every: Updates between validations.
        checkpoint_minutes: Minutes between checkpoints, whatever `validate_every`; 0 writes one after every update.
        seed: Of data order and noise.

    Raises:
        ValueError: if `steps`, `batch` or `validate_every` is below 1, or there is no such precision.
    """

    steps: int = 20_000
    batch: int = 256
    lr: float = 1e-3
    warmup: int = 500
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    sigma_mean: float = -1.2
    sigma_std: float = 1.2
    precision: str = "float32"
    validate_every: int = 1000
    checkpoint_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"`precision` must be 'float32' or 'bfloat16', got '{self.precision}'.")
