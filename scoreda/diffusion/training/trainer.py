"""Training a denoiser: one plain loop, exact resume, the best practice of small diffusion models.

AdamW, warm-up then cosine decay, gradient clipping, an exponential moving average of the weights (which is what is
saved), validation on fixed noise, and a checkpoint every few minutes that continues to the bit.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from scoreda.datasets.layout import replacing
from scoreda.diffusion.denoisers import KarrasDenoiser
from scoreda.diffusion.training.levels import log_normal_sigma
from scoreda.diffusion.training.settings import TrainSettings
from scoreda.errors import ScoredaError

__all__ = ["Trainer"]

CHECKPOINT, METRICS = "last.pt", "metrics.jsonl"


class Trainer:
    """Owns everything that a checkpoint holds: network, average, optimiser, schedule and random state.

    Args:
        denoiser: A freshly initialised `KarrasDenoiser`.
        data: Normalised training samples `(n, C, L)`; moved to `device` once.
        valid: Normalised validation samples.
        settings: See `TrainSettings`.
        folder: Where `last.pt` and `metrics.jsonl` go.
        device: Any torch device.

    Raises:
        ValueError: if the data hold NaN or are empty.
    """

    def __init__(
        self,
        denoiser: KarrasDenoiser,
        data: Tensor,
        valid: Tensor,
        settings: TrainSettings,
        folder: Path,
        device: torch.device | str = "cpu",
    ) -> None:
        for name, x in {"data": data, "valid": valid}.items():
            _check_samples(name, x)
        self.settings, self.folder, self.device = settings, Path(folder), torch.device(device)
        self.denoiser = denoiser.to(self.device)
        self.average = AveragedModel(self.denoiser, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
        self.data, self.valid = data.to(self.device), valid.to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.denoiser.parameters(), lr=settings.lr, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        self.lr = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._lr_factor)
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        self.step, self.seconds = 0, 0.0
        self._losses: list[Tensor] = []  # since the last validation

    @property
    def averaged(self) -> KarrasDenoiser:
        """The denoiser with the moving average of the weights, the one to keep."""
        return cast(KarrasDenoiser, self.average.module)

    def _lr_factor(self, step: int) -> float:
        warmup = min(self.settings.warmup, self.settings.steps // 10)
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(self.settings.steps - warmup, 1)))

    def run(self, on_validation: Callable[["Trainer", dict[str, float]], None] | None = None) -> KarrasDenoiser:
        """Train to `settings.steps` and return the averaged denoiser.

        Raises:
            ScoredaError: if the loss becomes NaN; the last good checkpoint stays on disk.
        """
        s, saved, begun = self.settings, time.monotonic(), time.monotonic() - self.seconds
        self.folder.mkdir(parents=True, exist_ok=True)
        with tqdm(initial=self.step, total=s.steps, desc="train", unit="step", disable=None) as bar:
            while self.step < s.steps:
                self._losses.append(self.update())
                self.seconds = time.monotonic() - begun
                bar.update()
                if self.step % s.validate_every == 0 or self.step == s.steps:
                    row = self._record()
                    bar.set_postfix(loss=f"{row['loss']:.4f}", valid=f"{row['valid']:.4f}")
                    if on_validation:
                        on_validation(self, row)
                if time.monotonic() - saved > 60 * s.checkpoint_minutes or self.step == s.steps:
                    self.save()
                    saved = time.monotonic()
        return self.averaged

    def _record(self) -> dict[str, float]:
        """Validate and append a row to `metrics.jsonl`; return the row."""
        self._check_finite()
        loss = float(torch.stack(self._losses).mean())
        row = dict(step=self.step, loss=loss, valid=self.validate(), lr=float(self.lr.get_last_lr()[0]))
        row["seconds"] = round(self.seconds, 1)
        with open(self.folder / METRICS, "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")
        self._losses.clear()
        return row

    def _check_finite(self) -> None:
        if not all(bool(x.isfinite().all()) for x in [*self._losses, *self.denoiser.parameters()]):
            raise ScoredaError(
                f"the loss or a weight became NaN or infinite by step {self.step}; the last checkpoint in "
                f"{self.folder} is untouched. Lower `lr`, or use precision float32."
            )

    def update(self) -> Tensor:
        """One optimiser update on a random batch; returns the loss, detached and still on the device."""
        s = self.settings
        index = torch.randint(len(self.data), (s.batch,), generator=self.generator, device=self.device)
        loss = self._loss(self.denoiser, self.data[index], self.generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), s.clip)
        self.optimiser.step()
        self.lr.step()
        self.average.update_parameters(self.denoiser)
        self.step += 1
        return loss.detach()

    def _loss(self, denoiser: KarrasDenoiser, x: Tensor, generator: torch.Generator) -> Tensor:
        s = self.settings
        sigma = log_normal_sigma((len(x),), s.sigma_mean, s.sigma_std, generator)
        eps = torch.randn(x.shape, generator=generator, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=s.precision == "bfloat16"):
            return denoiser.loss(x, sigma, eps).mean()

    @torch.no_grad()
    def validate(self) -> float:
        """Return the averaged network's loss on the validation samples, always with the same noise."""
        generator = torch.Generator(self.device).manual_seed(20_240_229)
        chunks = self.valid.split(1024)
        losses = [self._loss(self.averaged, x, generator) * len(x) for x in chunks]
        return float(torch.stack(losses).sum() / len(self.valid))

    def state(self) -> dict[str, Any]:
        """Return everything that continuing needs."""
        return dict(
            settings=asdict(self.settings), step=self.step, seconds=self.seconds, denoiser=self.denoiser.state_dict(),
            average=self.average.state_dict(), optimiser=self.optimiser.state_dict(), lr=self.lr.state_dict(),
            generator=self.generator.get_state(), losses=torch.stack(self._losses) if self._losses else torch.zeros(0),
        )  # fmt: skip

    def save(self) -> None:
        """Write `last.pt`, atomically.

        Raises:
            ScoredaError: if a loss or weight is not finite; the checkpoint before it stays.
        """
        self._check_finite()
        with replacing(self.folder / CHECKPOINT) as partial:
            torch.save(self.state(), partial)

    def resume(self) -> None:
        """Continue from `last.pt`; metrics written after it are dropped.

        Raises:
            ScoredaError: if the checkpoint is missing, unreadable, of other settings or of another network.
        """
        path = self.folder / CHECKPOINT
        state = _read_checkpoint(path, self.device)
        settings = asdict(self.settings)
        changed = [name for name in settings if state["settings"].get(name) != settings[name]]
        if changed:
            raise ScoredaError(f"{path}: made with other settings ({', '.join(changed)}). Use another --out.")
        try:
            self._load(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ScoredaError(f"{path}: not a checkpoint of this network ({error!r}). Use another --out.") from error
        self._drop_later_metrics()

    def _load(self, state: dict[str, Any]) -> None:
        for name in ("denoiser", "average", "optimiser", "lr"):
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]
        # Checkpoints without `losses` were written at validations only, when there are none.
        self._losses = list(state.get("losses", torch.zeros(0)).unbind())

    def _drop_later_metrics(self) -> None:
        path = self.folder / METRICS
        if path.exists():
            rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            # A row that an interruption cut short has no line end.
            kept = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= self.step]
            with replacing(path) as partial:
                partial.write_text("".join(kept), encoding="utf-8")


def _check_samples(name: str, x: Tensor) -> None:
    if len(x) == 0:
        raise ValueError(f"`{name}` is empty. Pass at least one sample.")
    bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero()
    if len(bad):
        raise ValueError(f"`{name}` holds NaN or Inf, first in sample {int(bad[0])}. Remove or mask such samples.")


def _read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    if not path.is_file():
        raise ScoredaError(f"{path}: no checkpoint to resume from. Start without --resume.")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        return dict(state) | {"settings": dict(state["settings"])}
    except Exception as error:  # what torch raises for a damaged file is not documented
        raise ScoredaError(f"{path}: not a readable checkpoint ({error}). Remove it to start again.") from error
