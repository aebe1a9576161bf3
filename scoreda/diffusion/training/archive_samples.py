"""Training samples that stay on disk: states, or windows of time, read when a batch asks for them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from scoreda.datasets.field_samples import FieldSamples, Layout
from scoreda.datasets.normaliser import Normaliser
from scoreda.diffusion.training.samples import Samples, prepared

__all__ = ["ArchiveSamples"]


class ArchiveSamples:
    """The states of some trajectories of an archive, in the order of the file, as samples of one channel.

    Memory holds one batch. The samples are those of the archive read whole, so a training draws the same ones.

    Args:
        path: A file of `write_archive`, or with a layout any netCDF file.
        normaliser: Between physical and normalised units.
        trajectories: Which ones, `slice(first, last)`; or where the samples lie, as a `Layout`: that of windows of
            time is `Layout.of_archive(path, slice(first, last), frames, stride)`.
        variable: Name of the states.

    Raises:
        ScoredaError: by `take`, if a state holds NaN or Inf; the message names file, variable and index.
    """

    def __init__(
        self,
        path: Path | str,
        normaliser: Normaliser,
        trajectories: slice | Layout = slice(None),
        variable: str = "states",
    ) -> None:
        if isinstance(trajectories, slice):
            trajectories = Layout.of_archive(path, trajectories, variable=variable)
        self._field = FieldSamples(path, trajectories, variable)
        self.normaliser, self.device = normaliser, torch.device("cpu")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape `(n, C, *space)` of all samples."""
        return self._field.layout.shape

    def __len__(self) -> int:
        return len(self._field)

    def take(self, index: Tensor) -> Samples:
        """Read some samples, in the order of the file, and return them in the order asked for."""
        x = self._field.read(index.cpu().numpy())
        return Samples(torch.from_numpy(self.normaliser.apply(x))).to(self.device)

    def to(self, device: torch.device) -> "ArchiveSamples":
        """Send the batches to a device from now on; returns self."""
        self.device = device
        return self

    def checked(self, network: nn.Module) -> "ArchiveSamples":
        """Return self; ValueError if the first sample does not fit the network, as from `prepared`."""
        prepared("data", self.take(torch.zeros(1, dtype=torch.long)), network, mask=False)
        return self
