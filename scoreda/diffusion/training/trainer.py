"""Training a denoiser: one plain loop, exact resume, the best practice of small diffusion models.

By default AdamW, warm-up then cosine decay, gradient clipping, an exponential moving average of the weights (which is
what is kept), validation on fixed noise, and a checkpoint every few minutes that continues to the bit.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from scoreda.datasets.layout import replacing
from scoreda.diffusion.denoisers import LearnedDenoiser, LearnedWeighting
from scoreda.diffusion.guidance.classifier_free import drop_condition
from scoreda.diffusion.training.archive_samples import ArchiveSamples
from scoreda.diffusion.training.checkpoint import matching_checkpoint, specs
from scoreda.diffusion.training.distributed import Ranks, unsynchronised
from scoreda.diffusion.training.levels import draw_levels
from scoreda.diffusion.training.metrics import MetricsLog
from scoreda.diffusion.training.objective import Objective
from scoreda.diffusion.training.optimisers import lr_factor, make_optimiser
from scoreda.diffusion.training.reproducible import deterministic
from scoreda.diffusion.training.samples import Batch, Samples, prepared
from scoreda.diffusion.training.settings import TrainSettings
from scoreda.errors import ScoredaError

__all__ = ["Trainer"]

CHECKPOINT = "last.pt"
VALIDATION_SEED, VALIDATION_BATCH = 20_240_229, 1024
AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}

OnValidation = Callable[["Trainer", dict[str, float]], None]


class Trainer:
    """Owns everything that a checkpoint holds: network, averages, optimiser, schedule and random state.

    In a process group (see `distributed`) every process makes the same trainer and works on its share of each batch;
    only the first one writes files and calls back.

    Args:
        denoiser: A freshly initialised denoiser.
        data: Normalised training samples `(n, C, L)` or `(n, C, H, W)`, moved to `device` once; arrays take the
            precision of the network. As `Samples` they may carry conditions, as `ArchiveSamples` they stay on disk.
        valid: Normalised validation samples.
        settings: See `TrainSettings`.
        folder: Where `last.pt` and `metrics.jsonl` go.
        device: Any torch device.
        at_once: Most samples that go through the network together, to save memory; the same up to rounding.

    Raises:
        ValueError: if the data are empty, do not fit the network, or hold NaN that `settings.mask` does not allow.
    """

    def __init__(
        self,
        denoiser: LearnedDenoiser,
        data: Tensor | np.ndarray | Samples | ArchiveSamples,
        valid: Tensor | np.ndarray | Samples,
        settings: TrainSettings,
        folder: Path,
        device: torch.device | str = "cpu",
        at_once: int | None = None,
    ) -> None:
        self.settings, self.folder, self.device = settings, Path(folder), torch.device(device)
        self.at_once = at_once
        self.ranks, self.metrics = Ranks.current(), MetricsLog(folder)
        self.data = _ready(data, denoiser.network, settings.mask).to(self.device)
        self.valid = prepared("valid", valid, denoiser.network, settings.mask).to(self.device)
        self.denoiser = denoiser
        self.model: nn.Module = _weighted(denoiser, settings.seed) if settings.learned_weighting else denoiser
        self.model.to(self.device)
        self.averages = {decay: self._averaged_model(decay) for decay in (settings.ema, *settings.ema_extra)}
        self.objective = self.ranks.shared(self._objective())
        self.optimiser = make_optimiser(self.model.parameters(), settings, self.device)
        self.lr = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: lr_factor(settings, step))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        self.share = self.ranks.share(settings.batch)
        self.step, self.seconds = 0, 0.0
        self._losses: list[Tensor] = []  # since the last validation

    def _objective(self) -> Objective:
        objective = Objective(self.model, self.settings.norm)
        if self.settings.compile:
            objective.compile()
        return objective

    def _averaged_model(self, decay: float) -> AveragedModel:
        return AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay)).eval()

    @property
    def averaged(self) -> LearnedDenoiser:
        """The denoiser with the moving average of the weights, the one to keep."""
        return self.average(self.settings.ema)

    def average(self, decay: float) -> LearnedDenoiser:
        """Return the denoiser with a moving average of the weights: that of `ema`, or one of `ema_extra`."""
        module: Any = self.averages[decay].module
        return module.denoiser if self.settings.learned_weighting else module

    def run(self, on_validation: OnValidation | None = None) -> LearnedDenoiser:
        """Train to `settings.steps` and return the averaged denoiser.

        Raises:
            ScoredaError: if the loss becomes NaN; the last good checkpoint stays on disk.
        """
        s, saved, begun = self.settings, time.monotonic(), time.monotonic() - self.seconds
        if self.ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)
        quiet = None if self.ranks.first else True
        with deterministic(s.deterministic), tqdm(
            initial=self.step, total=s.steps, desc="train", unit="step", disable=quiet
        ) as bar:  # fmt: skip
            while self.step < s.steps:
                self._losses.append(self.update())
                self.seconds = time.monotonic() - begun
                bar.update()
                if self.step % s.validate_every == 0 or self.step == s.steps:
                    row = self._record(on_validation)
                    bar.set_postfix(loss=f"{row['loss']:.4f}", valid=f"{row['valid']:.4f}")
                if time.monotonic() - saved > 60 * s.checkpoint_minutes or self.step == s.steps:
                    self.save()
                    saved = time.monotonic()
        return self.averaged

    def _record(self, on_validation: OnValidation | None) -> dict[str, float]:
        """Validate; the first process appends the row to the log and calls back. Return the row."""
        self._check_finite()
        loss = float(torch.stack(self._losses).mean())
        row = dict(step=self.step, loss=loss, valid=self.validate(), lr=float(self.lr.get_last_lr()[0]))
        row |= {f"valid_{decay}": self.validate(self.average(decay)) for decay in self.settings.ema_extra}
        row["seconds"] = round(self.seconds, 1)
        self._losses.clear()
        if self.ranks.first:
            self.metrics.append(row)
            if on_validation:
                on_validation(self, row)
        return row

    def _check_finite(self) -> None:
        if not all(bool(x.isfinite().all()) for x in [*self._losses, *self.model.parameters()]):
            kept = (self.folder / CHECKPOINT).is_file()
            state = f"the last checkpoint in {self.folder} is untouched" if kept else "before the first checkpoint"
            raise ScoredaError(
                f"the loss or a weight became NaN or infinite by step {self.step}; {state}. "
                "Lower `lr`, or use precision float32."
            )

    def update(self) -> Tensor:
        """One optimiser update on a random batch; returns its loss, detached and still on the device."""
        index = torch.randint(len(self.data), (self.settings.batch,), generator=self.generator, device=self.device)
        batch = self._batch(self.data.take(index), self.generator, self.settings.condition_dropout)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._backward(batch.part(self.share))
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip or math.inf)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.lr.step()
        for average in self.averages.values():
            average.update_parameters(self.model)
        self.step += 1
        return self.ranks.mean(loss)

    def _batch(self, samples: Samples, generator: torch.Generator, dropout: float = 0.0) -> Batch:
        """Give every sample a noise level and noise; hide each condition with probability `dropout`."""
        x, given = samples.x, None
        ratio = draw_levels(len(x), self.settings, self.denoiser.schedule, generator)
        eps = torch.randn(x.shape, generator=generator, device=x.device)
        if samples.condition is not None:
            given = drop_condition(samples.condition, dropout, generator)
        return Batch(x, ratio.to(x.dtype), eps.to(x.dtype), samples.condition, given, samples.known)

    def _backward(self, batch: Batch) -> Tensor:
        """Add the gradient of the mean loss, part by part; return the loss, detached."""
        parts, losses = self._parts(batch, self.settings.accumulate), []
        for part in parts:
            with nullcontext() if part is parts[-1] else unsynchronised(self.objective):
                loss = self._loss(self.objective, part) * (len(part.x) / len(batch.x))
                self.scaler.scale(loss).backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _parts(self, batch: Batch, least: int = 1) -> list[Batch]:
        """Return a batch in `least` parts, or more where that is too many samples at once."""
        number = len(batch.x)
        return list(batch.parts(max(least, -(-number // (self.at_once or number)))))

    def _loss(self, objective: nn.Module, batch: Batch) -> Tensor:
        precision = self.settings.precision
        with torch.autocast(self.device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST):
            return objective(batch)

    @torch.no_grad()
    def validate(self, denoiser: nn.Module | None = None) -> float:
        """Return the loss of a denoiser, by default the averaged one, on the validation samples; the noise is fixed."""
        generator = torch.Generator(self.device).manual_seed(VALIDATION_SEED)
        objective, number = Objective(denoiser or self.averaged, self.settings.norm), len(self.valid)
        chunks = [self.valid.take(slice(k, k + VALIDATION_BATCH)) for k in range(0, number, VALIDATION_BATCH)]
        batches = (self._batch(chunk, generator) for chunk in chunks)
        losses = [self._loss(objective, part) * len(part.x) for batch in batches for part in self._parts(batch)]
        return float(torch.stack(losses).sum() / number)

    def state(self) -> dict[str, Any]:
        """Return everything that continuing needs."""
        main, *extra = self.averages.values()
        return dict(
            settings=asdict(self.settings), schedule=self._schedule(), built=specs(self.denoiser),
            step=self.step, seconds=self.seconds,
            denoiser=self.model.state_dict(), average=main.state_dict(), extra=[a.state_dict() for a in extra],
            optimiser=self.optimiser.state_dict(), lr=self.lr.state_dict(), scaler=self.scaler.state_dict(),
            generator=self.generator.get_state(), losses=torch.stack(self._losses) if self._losses else torch.zeros(0),
        )  # fmt: skip

    def _schedule(self) -> dict[str, Any]:
        return self.denoiser.schedule.spec()

    def save(self) -> None:
        """Write `last.pt`, atomically.

        Raises:
            ScoredaError: if a loss or weight is not finite; the checkpoint before it stays.
        """
        self._check_finite()
        if self.ranks.first:
            with replacing(self.folder / CHECKPOINT) as partial:
                torch.save(self.state(), partial)

    def resume(self) -> None:
        """Continue from `last.pt`; metrics written after it are dropped.

        Raises:
            ScoredaError: if the checkpoint is missing, unreadable, of other settings, schedule, denoiser or network.
        """
        path = self.folder / CHECKPOINT
        state = matching_checkpoint(path, self.settings, self._schedule(), specs(self.denoiser), self.device)
        try:
            self._load(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ScoredaError(f"{path}: not a checkpoint of this network ({error!r}). Use another --out.") from error
        if self.ranks.first:
            self.metrics.drop_after(self.step)
        self.ranks.wait()  # nobody trains on, to write the next checkpoint, before all have read this one

    def _load(self, state: dict[str, Any]) -> None:
        main, *extra = self.averages.values()
        for name, owner in {"average": main, "denoiser": self.model}.items():
            owner.load_state_dict(state[name])
        for average, found in zip(extra, state.get("extra", []), strict=True):
            average.load_state_dict(found)
        for name in ("optimiser", "lr"):
            getattr(self, name).load_state_dict(state[name])
        self.scaler.load_state_dict(state.get("scaler", {}))
        self.generator.set_state(state["generator"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]
        # Checkpoints without `losses` were written at validations only, when there are none.
        self._losses = list(state.get("losses", torch.zeros(0)).unbind())


def _ready(
    data: Tensor | np.ndarray | Samples | ArchiveSamples, network: nn.Module, mask: bool
) -> Samples | ArchiveSamples:
    if isinstance(data, ArchiveSamples):
        return data.checked(network)
    return prepared("data", data, network, mask)


def _weighted(denoiser: LearnedDenoiser, seed: int) -> nn.Module:
    """Return the denoiser with a learned weighting; the global random state of torch stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LearnedWeighting(denoiser)
