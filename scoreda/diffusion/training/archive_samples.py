"""Training samples that stay on disk: the states of an archive, read when a batch asks for them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scoreda.datasets.normaliser import Normaliser
from scoreda.diffusion.training.samples import Samples, prepared
from scoreda.errors import ScoredaError

__all__ = ["ArchiveSamples"]


class ArchiveSamples:
    """The states of some trajectories of an archive, in the order of the file, as samples of one channel.

    Memory holds one batch. The samples are those of the archive read whole, so a training draws the same ones.

    Args:
        path: A file of `write_archive`, variable `(trajectory, time, space)`.
        normaliser: Between physical and normalised units.
        trajectories: Which ones, `slice(first, last)`.
        variable: Name of the states.

    Raises:
        ScoredaError: by `take`, if a state holds NaN or Inf; the message names file, variable and index.
    """

    def __init__(
        self, path: Path | str, normaliser: Normaliser, trajectories: slice = slice(None), variable: str = "states"
    ) -> None:
        from netCDF4 import Dataset

        self._file = Dataset(path)
        self._states: Any = self._file[variable]
        self._states.set_auto_mask(False)
        self._rows = range(self._states.shape[0])[trajectories]
        self._name = f"{path}: `{variable}`"
        self.normaliser, self.device = normaliser, torch.device("cpu")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape `(n, 1, Nx)` of all samples."""
        return len(self), 1, self._states.shape[2]

    def __len__(self) -> int:
        return len(self._rows) * self._states.shape[1]

    def take(self, index: Tensor) -> Samples:
        """Read some samples, in the order of the file, and return them in the order asked for."""
        wanted = index.cpu().numpy()
        x = np.empty((len(wanted), 1, self._states.shape[2]), dtype=np.float32)
        for k in np.argsort(wanted, kind="stable").tolist():
            trajectory, time = divmod(int(wanted[k]), self._states.shape[1])
            x[k, 0] = self._states[self._rows[trajectory], time]
            if not np.isfinite(x[k]).all():
                raise ScoredaError(
                    f"{self._name} holds NaN or Inf in trajectory {self._rows[trajectory]}, time {time}. Leave that "
                    "trajectory out, or give the states as an array and train with mask=True."
                )
        return Samples(torch.from_numpy(self.normaliser.apply(x))).to(self.device)

    def to(self, device: torch.device) -> "ArchiveSamples":
        """Send the batches to a device from now on; returns self."""
        self.device = device
        return self

    def checked(self, network: nn.Module) -> "ArchiveSamples":
        """Return self; ValueError if the first sample does not fit the network, as from `prepared`."""
        prepared("data", self.take(torch.zeros(1, dtype=torch.long)), network, mask=False)
        return self
