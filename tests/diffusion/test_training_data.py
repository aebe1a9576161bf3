"""What can be trained on: lines, planes, channels, windows of time, data with gaps; and what is refused, and how."""

import math

import numpy as np
import pytest
import torch
from tiny_training import FIELDS, make_denoiser, make_trainer, ring_fields, rows

from scoreda.diffusion import EDM, KarrasDenoiser, Trainer, TrainSettings
from scoreda.diffusion.networks import MLP, ConvNet2d
from scoreda.diffusion.training import Samples, windows

STATES = np.arange(2 * 5 * 3).reshape(2, 5, 3)  # (trajectory, time, space)


@pytest.mark.parametrize(
    ("frames", "stride", "starts"), [(2, None, [0, 2]), (2, 1, [0, 1, 2, 3]), (3, 2, [0, 2]), (5, 3, [0])]
)
def test_that_windows_are_successive_states_of_one_trajectory(frames, stride, starts):
    found = windows(STATES, frames, stride)
    expected = np.array([[states[start : start + frames] for start in starts] for states in STATES])
    np.testing.assert_array_equal(found, expected)


def test_that_windows_keep_two_axes_of_space():
    found = windows(STATES.reshape(1, 5, 2, 3), 2, 3)
    np.testing.assert_array_equal(found[0, 1], STATES.reshape(5, 2, 3)[3:5])


@pytest.mark.parametrize(
    ("frames", "stride", "message"), [(6, 1, "does not fit"), (0, 1, "at least 1"), (2, 0, "at least 1")]
)
def test_that_windows_that_cannot_be_cut_are_refused(frames, stride, message):
    with pytest.raises(ValueError, match=message):
        windows(STATES, frames, stride)


# Shapes.


def trained(folder, network, data, steps=40, batch=16):
    """Validation loss of a trained network over that of the untrained one."""
    settings = TrainSettings(steps=steps, batch=batch, lr=1e-2, validate_every=steps, ema=0.9)
    trainer = Trainer(KarrasDenoiser(network, EDM()), data, data[:64], settings, folder)
    before = trainer.validate(trainer.denoiser)
    trainer.run()
    return rows(folder)[-1]["valid"] / before


def test_that_planes_and_channels_are_learned_from(tmp_path):
    field = ring_fields(12 * 128, 1).reshape(128, 1, 12, 24)[..., :12]
    data = torch.cat([field, field.flip(-1)], dim=1)
    assert trained(tmp_path, ConvNet2d(channels=2, width=8, blocks=1, kernel=3, embedding=8), data) < 0.95


def test_that_a_few_numbers_are_learned_from(tmp_path):
    angle = 2 * math.pi * torch.rand(256, generator=torch.Generator().manual_seed(1))
    circle = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], dim=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = MLP(channels=2, width=32, layers=2)
    assert trained(tmp_path, network, circle[:, None], steps=400, batch=64) < 0.9


def test_that_double_precision_data_train_a_double_precision_network(tmp_path):
    trainer = make_trainer(tmp_path, FIELDS.double(), make_denoiser().double(), FIELDS[:8].double())
    assert trainer.update().dtype == torch.float64
    assert {w.dtype for w in trainer.averaged.parameters()} == {torch.float64}


REFUSED = {
    "channels": (FIELDS.reshape(32, 2, 12), "`data` has 2 channels .* the network 1. Make the network with channels=2"),
    "dimensions": (
        FIELDS.reshape(32, 1, 4, 6),
        r"`data` has shape \(32, 1, 4, 6\), the network takes .* 1 axes of space",
    ),
    "precision": (
        FIELDS.double(),
        r"`data` is torch.float64, the network torch.float32. Pass data.to\(torch.float32\)",
    ),
    "conditions": (Samples(FIELDS, FIELDS[:3]), "`data` has 64 samples and 3 conditions"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_that_data_that_do_not_fit_the_network_are_refused_with_the_remedy(tmp_path, kind):
    data, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, data)


# Gaps.


def with_gaps(fraction, seed=0):
    """The fields, with NaN at random, and where."""
    lost = torch.rand(FIELDS.shape, generator=torch.Generator().manual_seed(seed)) < fraction
    return FIELDS.masked_fill(lost, math.nan), lost


def test_that_a_mask_without_gaps_changes_nothing(tmp_path):
    for name, mask in {"plain": False, "mask": True}.items():
        make_trainer(tmp_path / name, mask=mask).run()
    assert [row["valid"] for row in rows(tmp_path / "mask")] == pytest.approx(
        [row["valid"] for row in rows(tmp_path / "plain")], rel=1e-5
    )


def test_that_entries_lost_are_the_mean_to_the_network_and_nothing_to_the_loss(tmp_path):
    data, lost = with_gaps(0.3)
    trainer = make_trainer(tmp_path, data, mask=True)
    assert (trainer.data.x[lost] == 0).all()
    assert torch.equal(trainer.data.known, ~lost)
    batch = trainer._batch(trainer.data, torch.Generator().manual_seed(1))
    loss = trainer.objective(batch)
    # Another truth in the gaps, the same noisy input: the loss does not look there.
    shifted = batch.eps - 5.0 * lost / batch.ratio[:, None, None]
    torch.testing.assert_close(trainer.objective(batch._replace(x=batch.x + 5.0 * lost, eps=shifted)), loss)


def test_that_a_field_with_gaps_trains_to_finite_losses_and_previews(tmp_path):
    data, _ = with_gaps(0.3)
    trainer = make_trainer(tmp_path, data, valid=with_gaps(0.3, 1)[0][:16], mask=True)
    trainer.run()
    assert all(math.isfinite(row["loss"] + row["valid"]) for row in rows(tmp_path))


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [(math.nan, (5, slice(None)), "NaN everywhere in sample 5"), (math.inf, (5, 0), "NaN or Inf, first in sample 5")],
)
def test_that_a_mask_hides_neither_empty_samples_nor_infinities(tmp_path, value, where, message):
    data = FIELDS.clone()
    data[where] = value
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, data, mask=True)
