"""Twin experiments, training archives, climatologies and the files that hold them."""

from scoreda.datasets.archive import archive_chunks, read_archive, read_chunks, split_by_trajectory, write_archive
from scoreda.datasets.batches import observations
from scoreda.datasets.climatology import Climatology, climate_states, climatology
from scoreda.datasets.field_samples import FieldSamples, Layout
from scoreda.datasets.fields import AnnualCycle, read_field, read_parts
from scoreda.datasets.layout import open_dataset, with_calendar, write_dataset
from scoreda.datasets.normaliser import Normaliser
from scoreda.datasets.seed_windows import make_seed_windows, read_seed_windows, write_seed_windows
from scoreda.datasets.simulate import model_of, simulate, simulate_to, truth_model_of, twin_dataset

__all__ = [
    "AnnualCycle",
    "Climatology",
    "FieldSamples",
    "Layout",
    "Normaliser",
    "archive_chunks",
    "climate_states",
    "climatology",
    "make_seed_windows",
    "model_of",
    "observations",
    "open_dataset",
    "read_archive",
    "read_chunks",
    "read_field",
    "read_parts",
    "read_seed_windows",
    "simulate",
    "simulate_to",
    "split_by_trajectory",
    "truth_model_of",
    "twin_dataset",
    "with_calendar",
    "write_archive",
    "write_dataset",
    "write_seed_windows",
]
