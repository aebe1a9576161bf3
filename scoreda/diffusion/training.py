"""Training a denoiser: one plain loop, exact resume, the best practice of small diffusion models.

AdamW, warm-up then cosine decay, gradient clipping, an exponential moving average of the weights (which is what is
saved), validation on fixed noise, and a checkpoint every few minutes that continues to the bit.
"""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from scoreda.diffusion.denoisers import KarrasDenoiser
from scoreda.diffusion.schedules import log_normal_sigma
from scoreda.errors import ScoredaError

__all__ = ["TrainSettings", "Trainer"]


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        steps: Updates in all.
        batch: Samples per update.
        lr: Peak learning rate, reached after `warmup` updates, then decayed along a cosine to zero.
        weight_decay: AdamW's.
        clip: Largest gradient norm.
        ema: Decay of the moving average of the weights, per update.
        sigma_mean, sigma_std: Training noise, ln sigma ~ N(mean, std^2), normalised units.
        precision: `"float32"` or `"bfloat16"` (autocast; the weights stay float32).
        validate_every: Updates between validations.
        checkpoint_minutes: Minutes between checkpoints.
        seed: Of initialisation, data order and noise.
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
        ValueError: if the data hold NaN, or are fewer than one batch.
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
            bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero()
            if len(bad):
                raise ValueError(f"`{name}` holds NaN or Inf, first in sample {int(bad[0])}. Remove or mask such samples.")
        self.settings, self.folder, self.device = settings, Path(folder), torch.device(device)
        self.denoiser = denoiser.to(self.device)
        self.average = AveragedModel(self.denoiser, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
        self.data, self.valid = data.to(self.device), valid.to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.denoiser.parameters(), lr=settings.lr, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        self.lr = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._lr_factor)
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        self.step = 0
        self.seconds = 0.0

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
        s, saved, losses = self.settings, time.monotonic(), []
        clock = time.monotonic() - self.seconds
        bar = tqdm(initial=self.step, total=s.steps, desc="train", unit="step", disable=None)
        while self.step < s.steps:
            losses.append(self.update())
            bar.update()
            if self.step % s.validate_every == 0 or self.step == s.steps:
                self.seconds = time.monotonic() - clock
                train_loss = float(torch.stack(losses).mean())
                losses = []
                if not math.isfinite(train_loss):
                    raise ScoredaError(
                        f"the loss became {train_loss} near step {self.step}; the last checkpoint in {self.folder} is "
                        "untouched. Lower `lr`, or use precision float32."
                    )
                row = dict(step=self.step, loss=train_loss, valid=self.validate(), lr=self.lr.get_last_lr()[0])
                row["seconds"] = round(self.seconds, 1)
                with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as f:
                    f.write(json.dumps(row) + "\n")
                bar.set_postfix(loss=f"{row['loss']:.4f}", valid=f"{row['valid']:.4f}")
                if on_validation:
                    on_validation(self, row)
                if time.monotonic() - saved > 60 * s.checkpoint_minutes or self.step == s.steps:
                    self.save()
                    saved = time.monotonic()
        bar.close()
        return self.average.module

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
        losses = [self._loss(self.average.module, x, generator) * len(x) for x in chunks]
        return float(torch.stack(losses).sum() / len(self.valid))

    def state(self) -> dict[str, Any]:
        """Return everything that continuing needs."""
        return dict(
            settings=asdict(self.settings), step=self.step, seconds=self.seconds, denoiser=self.denoiser.state_dict(),
            average=self.average.state_dict(), optimiser=self.optimiser.state_dict(), lr=self.lr.state_dict(),
            generator=self.generator.get_state(),
        )  # fmt: skip

    def save(self) -> None:
        """Write `last.pt`, atomically."""
        partial = self.folder / "last.pt.partial"
        torch.save(self.state(), partial)
        os.replace(partial, self.folder / "last.pt")

    def resume(self) -> None:
        """Continue from `last.pt`; metrics written after it are dropped.

        Raises:
            ScoredaError: if the checkpoint cannot be read or was made with other settings.
        """
        path = self.folder / "last.pt"
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise ScoredaError(f"{path}: not a readable checkpoint ({error}). Remove it to start again.") from error
        if state["settings"] != asdict(self.settings):
            changed = [k for k, v in asdict(self.settings).items() if state["settings"].get(k) != v]
            raise ScoredaError(f"{path}: made with other settings ({', '.join(changed)}). Use another --out.")
        self.denoiser.load_state_dict(state["denoiser"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.lr.load_state_dict(state["lr"])
        self.generator.set_state(state["generator"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]
        metrics = self.folder / "metrics.jsonl"
        if metrics.exists():
            rows = [line for line in metrics.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] <= self.step]
            metrics.write_text("".join(line + "\n" for line in rows), encoding="utf-8")
