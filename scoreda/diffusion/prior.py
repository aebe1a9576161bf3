"""A learned prior: a denoiser, its normaliser and where it came from, in one file of safetensors."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scoreda.datasets.layout import replacing
from scoreda.datasets.normaliser import Normaliser
from scoreda.diffusion.denoisers import KarrasDenoiser
from scoreda.diffusion.networks import NETWORKS
from scoreda.diffusion.samplers import HeunSampler, noise
from scoreda.diffusion.schedules import schedule_from_spec
from scoreda.errors import ScoredaError, suggest

__all__ = ["Prior", "load_prior", "save_prior", "shipped_priors"]

FORMAT = "scoreda-prior-1"
WEIGHTS = "weights.safetensors"


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread for a while.

    The batches of a filter are too small to share, and where Numba's threads share the OpenMP of torch's, waiting for
    each other costs a busy machine a factor of thirty.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Prior:
    """What is known of a system before any observation: a denoiser of its normalised states.

    Attributes:
        denoiser: Of normalised states `(B, 1, L)`; any domain length L.
        normaliser: Between physical and normalised units.
        card: Settings and provenance: system, training, final loss.
    """

    def __init__(self, denoiser: KarrasDenoiser, normaliser: Normaliser, card: Mapping[str, Any] | None = None) -> None:
        self.denoiser, self.normaliser, self.card = denoiser.eval().requires_grad_(False), normaliser, dict(card or {})

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.denoiser.parameters()).device

    def to(self, device: torch.device | str) -> "Prior":
        """Move the weights; returns self."""
        self.denoiser.to(device)
        return self

    def tensor(self, E: np.ndarray) -> Tensor:
        """Return physical states `(N, Nx)` as normalised `(N, 1, Nx)` on the prior's device."""
        return torch.as_tensor(self.normaliser.apply(E), dtype=torch.float32, device=self.device)[:, None]

    def array(self, x: Tensor) -> np.ndarray:
        """Return normalised `(N, 1, Nx)` as physical float64 states `(N, Nx)`."""
        return self.normaliser.invert(x[:, 0].double().cpu().numpy())

    @torch.no_grad()
    @one_thread()
    def denoise(self, E: np.ndarray, sigma: float | np.ndarray) -> np.ndarray:
        """Return E[x | x + sigma eps = E] for states `(N, Nx)`; `sigma`, a scalar or `(N,)`, in physical units."""
        s = np.broadcast_to(sigma, len(E)) / self.normaliser.std
        s_rows = torch.as_tensor(s, dtype=torch.float32, device=self.device)[:, None, None]
        return self.array(self.denoiser.denoise(self.tensor(E), s_rows))

    def sample(self, number: int, size: int, seed: int, steps: int = 32, batch: int = 1000) -> np.ndarray:
        """Draw `number` states of `size` variables, physical units; batches follow each other in one stream."""
        generator = torch.Generator(self.device).manual_seed(seed)
        sampler = HeunSampler(self.denoiser, steps)
        sizes = [min(batch, number - start) for start in range(0, number, batch)]
        return np.concatenate(
            [self.array(sampler(noise((n, 1, size), self.denoiser, generator))) for n in sizes] or [np.empty((0, size))]
        )


def save_prior(folder: Path | str, prior: Prior) -> Path:
    """Write `weights.safetensors` (weights, configuration and card in its header) into `folder`, atomically.

    Raises:
        ScoredaError: if the folder cannot be made or written to.
        TypeError: if the card is not plain data.
    """
    from safetensors.torch import save_file

    path = Path(folder) / WEIGHTS
    config = dict(
        network=prior.denoiser.network.spec(),  # type: ignore[operator]
        schedule=prior.denoiser.schedule.spec(),
        sigma_data=prior.denoiser.sigma_data,
        normaliser=prior.normaliser.to_dict(),
    )
    header = {"format": FORMAT, "config": json.dumps(config), "card": json.dumps(prior.card)}
    weights = {name: w.contiguous().cpu() for name, w in prior.denoiser.state_dict().items()}
    with replacing(path) as partial:
        save_file(weights, partial, metadata=header)
    return path


def load_prior(name_or_path: str | Path, device: torch.device | str = "cpu") -> Prior:
    """Load a shipped prior by name (`"lorenz96"`), or a folder or file written by `save_prior`.

    Raises:
        ScoredaError: if there is no such prior, or the file is truncated, a pickle, or of another architecture.
    """
    path = _weights_path(name_or_path)
    header, weights = _read(path)
    try:
        config, card = json.loads(header["config"]), json.loads(header["card"])
        denoiser, normaliser = _denoiser(config), Normaliser(**config["normaliser"])
        denoiser.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ScoredaError(
            f"{path}: the weights do not fit the architecture in the header ({error!r}). "
            "Train again, or use the version of scoreda that wrote the file."
        ) from error
    return Prior(denoiser, normaliser, card).to(device)


def shipped_priors() -> list[str]:
    """Return the names of the priors inside the package."""
    root = resources.files("scoreda") / "priors"
    return sorted(p.name for p in root.iterdir() if (p / WEIGHTS).is_file()) if root.is_dir() else []


def _denoiser(config: Mapping[str, Any]) -> KarrasDenoiser:
    """Return the denoiser that `config` describes, with weights still to be loaded."""
    settings = dict(config["network"])
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and replaced at once
        network = NETWORKS[settings.pop("name")](**settings)
    return KarrasDenoiser(network, schedule_from_spec(config["schedule"]), config["sigma_data"])


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
