"""What can be chosen for a training: each choice does exactly what it says."""

import csv
import json
import math
from functools import partialmethod

import numpy as np
import pytest
import torch
from tiny_training import FIELDS, make_denoiser, make_trainer, ring_fields, rows

from scoreda.diffusion import EDM, Trainer, TrainSettings
from scoreda.diffusion.denoisers import TargetDenoiser
from scoreda.diffusion.networks import ConvNet1d
from scoreda.diffusion.schedules import DDPM, VPLinear
from scoreda.diffusion.training import MetricsLog, Preview, Samples, deterministic
from scoreda.diffusion.training.levels import draw_levels
from scoreda.diffusion.training.objective import Objective
from scoreda.diffusion.training.optimisers import lr_factor


def weights(trainer):
    return torch.cat([w.detach().flatten() for w in trainer.model.parameters()])


def updated(folder, updates=3, **settings):
    """The weights after some updates."""
    trainer = make_trainer(folder, **settings)
    for _ in range(updates):
        trainer.update()
    return weights(trainer)


# Learning rate and optimiser.

SHAPES = {
    "constant": lambda u: 1.0,
    "linear": lambda u: 1 - 0.9 * u,
    "cosine": lambda u: 0.1 + 0.45 * (1 + math.cos(math.pi * u)),
    "exponential": lambda u: 0.1**u,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_that_the_learning_rate_rises_then_falls_along_its_curve_to_its_end(shape):
    settings = TrainSettings(steps=44, warmup=4, lr_schedule=shape, lr_final=0.1)
    expected = [0.25, 0.5, 0.75, 1.0, *(SHAPES[shape](k / 40) for k in range(41))]
    assert [lr_factor(settings, k) for k in range(45)] == pytest.approx(expected)


def test_that_the_warm_up_takes_at_most_a_tenth_of_the_steps():
    settings = TrainSettings(steps=20, warmup=500)
    assert [lr_factor(settings, k) for k in range(3)] == pytest.approx([0.5, 1.0, 1.0])


def test_that_an_exponential_decay_to_nothing_is_refused():
    with pytest.raises(ValueError, match="`lr_final` must be positive"):
        TrainSettings(lr_schedule="exponential")


@pytest.mark.parametrize(("optimiser", "decay"), [("adamw", 0.0), ("adam", 0.1)])
def test_that_weight_decay_is_apart_from_the_gradient_for_adamw_only(tmp_path, optimiser, decay):
    trainer = make_trainer(tmp_path, optimiser=optimiser, weight_decay=0.1, warmup=0, clip=0.0)
    before = trainer.denoiser.network.enter.weight.detach().clone()
    trainer.update()  # the last layer is zero, so no gradient reaches the first one
    moved = (before - trainer.denoiser.network.enter.weight.detach()) / trainer.settings.lr
    expected = 0.1 * before if optimiser == "adamw" else torch.sign(before)  # Adam's first step has unit length
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-4)


def test_that_the_gradient_is_cut_to_its_largest_norm(tmp_path):
    def norm(clip):
        trainer = make_trainer(tmp_path, clip=clip)
        trainer.update()
        return float(torch.stack([p.grad.norm() for p in trainer.model.parameters()]).norm())

    free = norm(0.0)
    assert norm(free / 3) == pytest.approx(free / 3, rel=1e-3)
    assert norm(3 * free) == free


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_that_a_batch_in_parts_is_the_whole_batch(tmp_path, parts):
    torch.testing.assert_close(updated(tmp_path, accumulate=parts), updated(tmp_path), rtol=0, atol=2e-5)


# Averages.


def test_that_every_average_is_exponential_and_continues_to_the_bit(tmp_path):
    settings = dict(ema=0.9, ema_extra=[0.5, 0.99], steps=6, validate_every=3)
    trainer, expected = make_trainer(tmp_path, **settings), {}
    trainer.update()
    for _ in range(4):
        for decay in (0.9, 0.5, 0.99):
            expected.setdefault(decay, weights(trainer))
        trainer.update()
        expected = {decay: decay * old + (1 - decay) * weights(trainer) for decay, old in expected.items()}
    trainer.save()
    resumed = make_trainer(tmp_path, denoiser=make_denoiser(seed=5), **settings)
    resumed.resume()
    for decay, average in expected.items():
        found = torch.cat([w.detach().flatten() for w in resumed.average(decay).parameters()])
        torch.testing.assert_close(found, average)
    assert resumed.averaged is resumed.average(0.9)


def test_that_every_average_is_validated(tmp_path):
    trainer = make_trainer(tmp_path, ema_extra=[0.5], steps=4)
    trainer.run()
    row = rows(tmp_path)[-1]
    assert row["valid"] == trainer.validate(trainer.average(0.9))
    assert row["valid_0.5"] == trainer.validate(trainer.average(0.5)) != row["valid"]


def test_that_equal_averages_are_refused():
    with pytest.raises(ValueError, match="`ema_extra` must differ"):
        TrainSettings(ema=0.9, ema_extra=(0.9,))


# Noise levels.


def drawn(schedule, number=20_000, **settings):
    return draw_levels(number, TrainSettings(**settings), schedule, torch.Generator().manual_seed(0)).double()


def distance_to_uniform(u):
    """The largest difference between an empirical distribution and that of U(0, 1) (Kolmogorov and Smirnov)."""
    return float((u.sort().values - (torch.arange(len(u)) + 0.5) / len(u)).abs().max())


@pytest.mark.parametrize("schedule", [EDM(), VPLinear()], ids=lambda s: s.name)
def test_that_uniform_times_are_uniform(schedule):
    t = schedule.time(drawn(schedule, levels="uniform_time"))
    assert distance_to_uniform(t) < 1.63 / math.sqrt(len(t))  # 1 % level


def test_that_log_normal_levels_are_log_normal():
    z = (drawn(EDM(), levels="log_normal", sigma_mean=-0.7, sigma_std=1.5).log() + 0.7) / 1.5
    assert distance_to_uniform(torch.special.ndtr(z)) < 1.63 / math.sqrt(len(z))


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [(DDPM(steps=50, beta_max=0.3), {}), (VPLinear(), {"level_steps": 50})],
    ids=["own", "set"],
)
def test_that_uniform_steps_visit_every_step_of_the_schedule_alike(schedule, settings):
    ratio = drawn(schedule, levels="uniform_step", **settings)
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    steps = (torch.log(ratio)[:, None] - torch.log(schedule.sigma(t) / schedule.alpha(t))).abs().min(1)
    assert steps.values.max() < 1e-3
    counts = torch.bincount(steps.indices, minlength=50)
    assert float(((counts - 400) ** 2 / 400).sum()) < 75  # chi-square of 49 degrees of freedom, 1 % level


def test_that_steps_reach_a_network_as_the_whole_numbers_of_the_schedule(tmp_path):
    schedule, seen = DDPM(steps=50, beta_max=0.3), []
    denoiser = TargetDenoiser(ConvNet1d(width=4, blocks=1), schedule, noise_input="step")
    trainer = Trainer(denoiser, FIELDS, FIELDS, TrainSettings(steps=1, levels="uniform_step", batch=400), tmp_path)
    denoiser.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    trainer.update()
    assert set(seen[0].tolist()) == {float(k) for k in range(50)}


# Losses.


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_that_the_loss_is_the_mean_over_known_entries_computed_by_hand(tmp_path, norm):
    data = FIELDS[:8].clone()
    data[2, 0, 3:7] = math.nan
    trainer = make_trainer(tmp_path, data, make_denoiser(), norm=norm, mask=True)
    batch = trainer._batch(trainer.data, torch.Generator().manual_seed(4))
    with torch.no_grad():
        found = trainer.objective(batch)
    ratio, known = batch.ratio[:, None, None], ~data.isnan()
    x = data.nan_to_num(0.0)
    noisy = x + ratio * batch.eps
    error = noisy / (1 + ratio**2) - x  # the untrained network's answer is zero
    weight = (1 + ratio**2) / ratio**2
    terms = weight * error**2 if norm == "l2" else weight.sqrt() * error.abs()
    expected = torch.stack([term[k].mean() for term, k in zip(terms, known, strict=True)]).mean()
    torch.testing.assert_close(found, expected)


def test_that_a_learned_weighting_keeps_the_denoiser_inside(tmp_path):
    before = torch.get_rng_state()
    trainer = make_trainer(tmp_path, learned_weighting=True, steps=30, validate_every=30)
    plain = make_trainer(tmp_path / "plain", steps=30, validate_every=30)
    assert trainer.validate() == plain.validate()  # the plain loss, whatever the weights
    trainer.run()
    assert torch.equal(torch.get_rng_state(), before)
    assert type(trainer.averaged) is type(plain.averaged)
    assert trainer.model.log_loss(torch.tensor([0.1, 3.0])).abs().min() > 0


def test_that_a_known_condition_lowers_the_loss_and_a_dropped_one_does_not(tmp_path):
    x, y = ring_fields(256, 1), ring_fields(64, 2)
    losses = {}
    for dropout in (0.0, 1.0):
        denoiser = make_denoiser(conditioning=1)
        settings = TrainSettings(steps=120, batch=32, lr=1e-2, ema=0.9, condition_dropout=dropout)
        trainer = Trainer(denoiser, Samples(x, x), Samples(y, y), settings, tmp_path / str(dropout))
        trainer.run()
        losses[dropout] = rows(trainer.folder)[-1]["loss"]
    assert losses[0.0] < 0.6 * losses[1.0]


def test_that_conditions_are_hidden_as_often_as_asked(tmp_path):
    denoiser, data = make_denoiser(conditioning=1), Samples(FIELDS, FIELDS)
    trainer = Trainer(denoiser, data, data, TrainSettings(condition_dropout=0.25), tmp_path)
    generator = torch.Generator().manual_seed(0)
    given = torch.cat([trainer._batch(trainer.data, generator, 0.25).given for _ in range(100)]).double()
    assert float(given.mean()) == pytest.approx(0.75, abs=3 * math.sqrt(0.75 * 0.25 / 6400))


# Reproducibility.


def test_that_deterministic_mode_is_on_while_it_trains_and_off_afterwards(tmp_path):
    seen = []
    trainer = make_trainer(tmp_path, deterministic=True, steps=4)
    trainer.run(lambda trainer, row: seen.append(torch.are_deterministic_algorithms_enabled()))
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_that_deterministic_mode_ends_with_an_error_too():
    with pytest.raises(KeyError), deterministic():
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()


# Previews and logs.


def test_that_previews_show_the_same_noise_at_every_validation(tmp_path):
    trainer = make_trainer(tmp_path, steps=8)
    preview = Preview((3, 1, 10), steps=4, seed=2, invert=lambda x: 10 + x)
    trainer.run(preview)
    with np.load(tmp_path / "previews.npz") as file:
        assert file.files == ["step_00000004", "step_00000008"]
        assert file["step_00000008"].shape == (3, 1, 10)
        np.testing.assert_array_equal(file["step_00000008"], preview.draw(trainer))
        assert not np.array_equal(file["step_00000004"], file["step_00000008"])


def test_that_previews_of_an_interrupted_future_are_dropped(tmp_path):
    np.savez(tmp_path / "previews.npz", step_00000002=np.zeros(1), step_00000004=np.ones(1), step_00000012=np.ones(1))
    Preview((1, 1, 8), steps=2)(make_trainer(tmp_path), {"step": 4})
    with np.load(tmp_path / "previews.npz") as file:
        assert file.files == ["step_00000002", "step_00000004"]
        assert file["step_00000004"].shape == (1, 1, 8)


def test_that_the_table_holds_the_rows_of_the_log(tmp_path):
    make_trainer(tmp_path, ema_extra=[0.5]).run()
    with open(MetricsLog(tmp_path).write_csv(), newline="") as f:
        table = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(f)]
    assert table == [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(table) == 5


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_that_a_compiled_training_is_the_training_and_resumes(tmp_path, monkeypatch, backend):
    monkeypatch.setattr(Objective, "compile", partialmethod(Objective.compile, backend=backend))
    make_trainer(tmp_path / "plain", learned_weighting=True).run()
    make_trainer(tmp_path / "whole", learned_weighting=True, compile=True).run()
    stopped = make_trainer(tmp_path / "parts", learned_weighting=True, compile=True)
    for _ in range(10):
        stopped._losses.append(stopped.update())
    (tmp_path / "parts").mkdir()
    stopped.save()
    resumed = make_trainer(tmp_path / "parts", learned_weighting=True, compile=True)
    resumed.resume()
    resumed.run()
    last = {name: rows(tmp_path / name)[-1] for name in ("plain", "whole", "parts")}
    assert last["whole"] == pytest.approx(last["plain"], rel=1e-4)
    assert last["parts"] == last["whole"]
