"""A learned prior: a denoiser, its normaliser and where it came from, in one file of safetensors."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scoreda.datasets.layout import replacing
from scoreda.datasets.normaliser import Normaliser
from scoreda.diffusion.denoisers import KarrasDenoiser, LearnedDenoiser, denoiser_from_spec
from scoreda.diffusion.networks import Autocast, Tiled, network_from_spec
from scoreda.diffusion.samplers import HeunSampler, noise
from scoreda.diffusion.schedules import Schedule, expand, schedule_from_spec, terminal_ratio
from scoreda.diffusion.threads import one_thread
from scoreda.errors import ScoredaError, suggest

__all__ = ["Prior", "load_prior", "save_prior", "shipped_priors"]

FORMAT = "scoreda-prior-1"
WEIGHTS = "weights.safetensors"


class Prior:
    """What is known of a system before any observation: a denoiser of its normalised states.

    Physical states are `(N, *space)` where the network has one channel, `(N, C, *space)` where it has more.

    Attributes:
        denoiser: Of normalised states `(B, C, L)` or `(B, C, H, W)`; any domain size.
        normaliser: Between physical and normalised units.
        card: Settings and provenance: system, training, final loss.
    """

    def __init__(
        self, denoiser: LearnedDenoiser, normaliser: Normaliser, card: Mapping[str, Any] | None = None
    ) -> None:
        self.denoiser: LearnedDenoiser = denoiser.eval().requires_grad_(False)
        self.normaliser, self.card = normaliser, dict(card or {})
        network = self.denoiser.network
        self.dimensions = getattr(network, "dimensions", None) or 1
        # A perceptron's numbers are points of a line; a network of any number of channels leaves it to the states.
        self.channels = 1 if getattr(network, "dimensions", 1) == 0 else getattr(network, "channels", None)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored in."""
        return next(self.denoiser.parameters()).dtype

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the prior around its weights: denoiser, network, schedule and normaliser, plain data."""
        own = self.denoiser
        parts = dict(denoiser=own.spec(), network=own.network.spec(), schedule=own.schedule.spec())  # type: ignore[operator]
        return parts | dict(normaliser=self.normaliser.to_dict())

    def fingerprint(self) -> str:
        """Return 16 digits that change with the weights and with any of the settings, but not with the card."""
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode())
        for name, weights in sorted(self.denoiser.state_dict().items()):
            digest.update(name.encode() + weights.cpu().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def to(self, device: torch.device | str) -> "Prior":
        """Move the weights; returns self."""
        self.denoiser.to(device)
        return self

    def under(self, schedule: Schedule) -> "Prior":
        """Return the same prior in another schedule's time, which most samplers and guidance methods work in.

        The covariance of x given x_t, which guidance takes from the network's slope times s^2, is the error of that
        slope where s = sigma / alpha lies far beyond the training's. So start near its end: `VPCosine(margin=1 / 80)`
        for weights trained under EDM to sigma = 80.

        Raises:
            ValueError: if the weights know noise levels by the times of their own schedule only.

        Warns:
            UserWarning: if the schedule starts from more than four times the noise of the weights' own.
        """
        own, denoiser = self.denoiser.schedule.spec(), copy(self.denoiser)
        if schedule.spec() != own and not isinstance(denoiser, KarrasDenoiser):
            raise ValueError(
                f"the weights were trained under the schedule {own} and know no other, got {schedule.spec()}. "
                "Use that schedule, or train again under this one."
            )
        ours, theirs = terminal_ratio(self.denoiser.schedule), terminal_ratio(schedule)
        if theirs > 4 * ours:
            warnings.warn(
                f"schedule '{schedule.name}' starts at sigma / alpha = {theirs:.3g}, the weights' own at {ours:.3g}: "
                "guidance may run away there. Pass a schedule that ends nearer, such as VPCosine(margin="
                f"{1 / ours:.2g}).",
                stacklevel=2,
            )
        denoiser.schedule = schedule
        return Prior(denoiser, self.normaliser, self.card)

    def within(self, memory: int) -> "Prior":
        """Return the same prior, whose network is evaluated within `memory` bytes, in tiles if need be.

        Raises:
            ValueError: if the network is not local.
        """
        return self._around(Tiled(self.denoiser.network, memory))  # type: ignore[arg-type]

    def autocast(self, dtype: str = "bfloat16") -> "Prior":
        """Return the same prior, whose network computes in half precision (see `networks.Autocast`)."""
        return self._around(Autocast(self.denoiser.network, dtype))  # type: ignore[arg-type]

    def _around(self, network: nn.Module) -> "Prior":
        """Return the same prior around the same weights in another network."""
        own = self.denoiser
        return Prior(denoiser_from_spec(own.spec(), network, own.schedule), self.normaliser, self.card)

    def tensor(self, E: np.ndarray) -> Tensor:
        """Return physical states `(N, *space)` or `(N, C, *space)` as normalised `(N, C, *space)`.

        Raises:
            ValueError: if the states have another number of channels than the network.
        """
        x = torch.as_tensor(self.normaliser.apply(E), dtype=self.dtype, device=self.device)
        x = x[:, None] if self.channels == 1 else x
        if self.channels not in (None, x.shape[1]) or x.ndim != self.dimensions + 2:
            raise ValueError(
                f"the prior is of states {self._shape()}, got {np.shape(E)}. Reshape them, or train another."
            )
        return x

    def _shape(self) -> str:
        space = ("Nx",) if self.dimensions == 1 else ("H", "W")
        channels = () if self.channels == 1 else (str(self.channels or "C"),)
        return f"(N, {', '.join(channels + space)})"

    def array(self, x: Tensor) -> np.ndarray:
        """Return normalised `(N, C, *space)` as physical float64 states, the inverse of `tensor`."""
        return self.normaliser.invert((x[:, 0] if self.channels == 1 else x).double().cpu().numpy())

    @torch.no_grad()
    @one_thread()
    def denoise(self, E: np.ndarray, sigma: float | np.ndarray) -> np.ndarray:
        """Return E[x | x + sigma eps = E] for states `(N, ...)`; `sigma`, a scalar or `(N,)`, in physical units."""
        s = np.broadcast_to(sigma, len(E)) / self.normaliser.std
        x = self.tensor(E)
        s_rows = torch.as_tensor(s, dtype=self.dtype, device=self.device)
        return self.array(self.denoiser.denoise(x, expand(s_rows, x)))

    def sample(
        self, number: int, size: int | Sequence[int], seed: int, steps: int = 32, batch: int = 1000
    ) -> np.ndarray:
        """Draw states in physical units; batches follow each other in one stream.

        Args:
            number: How many.
            size: Points along every axis of space, or `(H, W)`; with the channels before it if the network takes any
                number of them.
            seed: Of the noise.
            steps: Of the Heun sampler.
            batch: States drawn at a time.
        """
        space = (size,) * self.dimensions if isinstance(size, int) else tuple(size)
        shape = space if self.channels is None else (self.channels, *space)
        generator = torch.Generator(self.device).manual_seed(seed)
        sampler = HeunSampler(self.denoiser, steps)
        draw = lambda n: sampler(noise((n, *shape), self.denoiser, generator).to(self.dtype))
        sizes = [min(batch, number - start) for start in range(0, number, batch)]
        empty = torch.empty((0, *shape))
        return np.concatenate([self.array(draw(n)) for n in sizes] or [self.array(empty)])


def save_prior(folder: Path | str, prior: Prior) -> Path:
    """Write `weights.safetensors` (weights, configuration and card in its header) into `folder`, atomically.

    Raises:
        ScoredaError: if the folder cannot be made or written to.
        TypeError: if the card is not plain data.
    """
    from safetensors.torch import save_file

    path = Path(folder) / WEIGHTS
    header = {"format": FORMAT, "config": json.dumps(prior.settings()), "card": json.dumps(prior.card)}
    weights = {name: w.contiguous().cpu() for name, w in prior.denoiser.state_dict().items()}
    with replacing(path) as partial:
        save_file(weights, partial, metadata=header)
    return path


def load_prior(name_or_path: str | Path, device: torch.device | str = "cpu") -> Prior:
    """Load a shipped prior by name (`"lorenz96"`), or a folder or file written by `save_prior`.

    Raises:
        ScoredaError: if there is no such prior, or the file is truncated, a pickle, of another architecture, or holds
            NaN or Inf.
    """
    path = _weights_path(name_or_path)
    header, weights = _read(path)
    try:
        config, card = json.loads(header["config"]), json.loads(header["card"])
        denoiser, normaliser = _denoiser(config), Normaliser(**config["normaliser"])
        denoiser.to(_dtype(weights)).load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ScoredaError(
            f"{path}: the weights do not fit the architecture in the header ({error!r}). "
            "Train again, or use the version of scoreda that wrote the file."
        ) from error
    _check_finite(path, weights)
    return Prior(denoiser, normaliser, card).to(device)


def shipped_priors() -> list[str]:
    """Return the names of the priors inside the package."""
    root = resources.files("scoreda") / "priors"
    return sorted(p.name for p in root.iterdir() if (p / WEIGHTS).is_file()) if root.is_dir() else []


def _denoiser(config: Mapping[str, Any]) -> LearnedDenoiser:
    """Return the denoiser that `config` describes, with weights still to be loaded."""
    # The first files name no denoiser: there was only one.
    spec = config["denoiser"] if "denoiser" in config else dict(name="karras", sigma_data=config["sigma_data"])
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and replaced at once
        network = network_from_spec(config["network"])
    return denoiser_from_spec(spec, network, schedule_from_spec(config["schedule"]))


def _dtype(weights: Mapping[str, Tensor]) -> torch.dtype:
    """Return the one floating type of the weights; ValueError if there are several, which no network is made of."""
    dtypes = {w.dtype for w in weights.values() if w.is_floating_point()}
    if len(dtypes) != 1:
        raise ValueError(f"the weights mix {', '.join(sorted(map(str, dtypes)))}")
    return dtypes.pop()


def _check_finite(path: Path, weights: Mapping[str, Tensor]) -> None:
    broken = [name for name, w in weights.items() if not w.isfinite().all()]
    if broken:
        raise ScoredaError(f"{path}: the weights '{broken[0]}' hold NaN or Inf. Copy or train it again.")


def _weights_path(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.is_dir():
        path = path / WEIGHTS
    if path.is_file():
        return path
    shipped = Path(str(resources.files("scoreda") / "priors" / str(name_or_path) / WEIGHTS))
    if shipped.is_file():
        return shipped
    raise ScoredaError(
        f"no prior '{name_or_path}': neither a folder with {WEIGHTS}, nor a file, nor shipped; "
        f"{suggest(str(name_or_path), shipped_priors())}"
    )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return header and tensors of a safetensors file; a pickle is recognised and refused, never loaded."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as f:
            header, weights = f.metadata() or {}, {name: f.get_tensor(name) for name in f.keys()}
    except (SafetensorError, OSError) as error:
        if _is_pickle(path):
            raise ScoredaError(
                f"{path}: this is a pickle (torch.save), which scoreda never loads. Write it with save_prior."
            ) from None
        raise ScoredaError(f"{path}: truncated or not safetensors ({error}). Copy or train it again.") from error
    if header.get("format") != FORMAT:
        raise ScoredaError(
            f"{path}: not a scoreda prior (format '{header.get('format')}', expected '{FORMAT}'). "
            "Pass a file or folder written by save_prior or `scoreda train`."
        )
    return header, weights


def _is_pickle(path: Path) -> bool:
    """Tell the two forms of `torch.save` and bare pickles by their first bytes, those of a zip file or an opcode."""
    with open(path, "rb") as f:
        start = f.read(2)
    return start == b"PK" or (start[:1] == b"\x80" and start[1:] <= b"\x05")
