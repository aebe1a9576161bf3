"""Training: it approaches a loss that is known exactly, continues to the bit, and never spoils a checkpoint."""

import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_training import FIELDS, SIZE, make_denoiser, make_trainer, ring_fields, ring_spectrum, rows

from scoreda.diffusion import EDM, CirculantGaussian, KarrasDenoiser, Trainer, TrainSettings, VPCosine
from scoreda.diffusion.denoisers import TargetDenoiser
from scoreda.diffusion.schedules import VPLinear
from scoreda.errors import ScoredaError

HERE = Path(__file__).parent


def assert_same_state(a, b):
    """Compare weights, averages and the optimiser's moments to the bit."""
    for x, y in zip(*([s["denoiser"], s["average"], *s["extra"]] for s in (a, b)), strict=True):
        assert all(torch.equal(x[name], y[name]) for name in x)
    for i, moments in a["optimiser"]["state"].items():
        assert all(
            torch.equal(torch.as_tensor(v), torch.as_tensor(b["optimiser"]["state"][i][k])) for k, v in moments.items()
        )
    assert torch.equal(a["generator"], b["generator"])


def stop_after(trainer, steps):
    """Run a trainer that is interrupted right after its checkpoint at `steps`."""
    save = trainer.save

    def save_and_stop():
        save()
        if trainer.step == steps:
            raise KeyboardInterrupt

    trainer.save = save_and_stop
    with pytest.raises(KeyboardInterrupt):
        trainer.run()


# A known optimum.


def optimal_loss(mean, std):
    """The loss of the exact Wiener filter, by Gauss-Hermite quadrature over the training noise."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    variance = torch.exp(2 * (mean + std * torch.as_tensor(nodes)))[:, None]
    spectrum = ring_spectrum()
    losses = ((1 + variance) / variance * spectrum * variance / (spectrum + variance)).mean(1)
    return float((torch.as_tensor(weights) * losses).sum() / math.sqrt(2 * math.pi))


def valid_loss(folder, steps, width, target=None, **settings):
    """Validation loss of a network that was trained on a ring's Gaussian field."""
    settings = TrainSettings(steps=steps, batch=64, lr=1e-2, warmup=30, ema=0.97, validate_every=steps, **settings)
    denoiser = make_denoiser(width=width, blocks=2, kernel=5, embedding=16)
    if target:
        denoiser = TargetDenoiser(denoiser.network, VPLinear(), target)
    Trainer(denoiser, ring_fields(20_000, 1), ring_fields(8000, 2), settings, folder).run()
    return rows(folder)[-1]["valid"]


def loss_over_optimum(folder, steps, width):
    """That loss over the one of the exact filter."""
    return valid_loss(folder, steps, width) / optimal_loss(-1.2, 1.2)


def optimal_epsilon_loss(schedule):
    """The mean squared error of the best estimate of the noise, by Gauss-Legendre quadrature over uniform times."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    t = torch.as_tensor(nodes / 2 + 0.5)[:, None]
    signal = schedule.alpha(t) ** 2 * ring_spectrum()
    losses = (signal / (signal + schedule.sigma(t) ** 2)).mean(1)
    return float((torch.as_tensor(weights) / 2 * losses).sum())


def test_that_the_quadrature_is_the_loss_of_the_exact_filter(tmp_path):
    trainer = make_trainer(tmp_path, ring_fields(8, 1), valid=ring_fields(40_000, 2))
    exact = CirculantGaussian(0.0, ring_spectrum()[: SIZE // 2 + 1].float(), EDM())
    trainer.averaged.denoise = lambda x, s: exact(x, EDM().time(s.flatten()))
    assert trainer.validate() == pytest.approx(optimal_loss(-1.2, 1.2), rel=0.01)


def test_that_a_small_network_comes_near_the_optimal_loss_of_a_gaussian_field(tmp_path):
    assert 0.99 < loss_over_optimum(tmp_path, steps=150, width=12) < 1.03


@pytest.mark.slow
def test_that_a_network_trained_for_longer_comes_within_two_percent(tmp_path):
    assert 0.99 < loss_over_optimum(tmp_path, steps=1000, width=16) < 1.02


@pytest.mark.slow
def test_that_a_network_that_predicts_the_noise_comes_within_two_percent(tmp_path):
    loss = valid_loss(tmp_path, steps=2000, width=16, target="epsilon", levels="uniform_time")
    assert 0.98 < loss / optimal_epsilon_loss(VPLinear()) < 1.02


# Exact resume.


@pytest.mark.parametrize("stop", [8, 10], ids=["at a validation", "between validations"])
def test_that_a_resumed_training_is_the_uninterrupted_one_to_the_bit(tmp_path, stop):
    straight = make_trainer(tmp_path / "a", checkpoint_minutes=0)
    straight.run()
    stop_after(make_trainer(tmp_path / "b", checkpoint_minutes=0), stop)
    resumed = make_trainer(tmp_path / "b", denoiser=make_denoiser(seed=9), checkpoint_minutes=0)
    resumed.resume()
    assert resumed.step == stop
    resumed.run()
    assert_same_state(resumed.state(), straight.state())
    assert rows(tmp_path / "b") == rows(tmp_path / "a")
    assert [row["step"] for row in rows(tmp_path / "a")] == [4, 8, 12, 16, 20]


@pytest.mark.slow
def test_that_a_process_killed_in_the_middle_resumes_to_the_same_bits(tmp_path):
    settings = dict(steps=400, checkpoint_minutes=0, ema_extra=[0.99])
    straight = make_trainer(tmp_path / "a", **settings)
    straight.run()
    code = "import sys, tiny_training as t; t.make_trainer(sys.argv[1], **eval(sys.argv[2])).run()"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "b"), str(settings)], cwd=HERE)
    while process.poll() is None and len(rows(tmp_path / "b")) < 10:
        time.sleep(0.01)
    process.kill()  # SIGKILL: nothing is flushed, nothing is tidied up
    assert process.wait() == -signal.SIGKILL
    resumed = make_trainer(tmp_path / "b", **settings)
    resumed.resume()
    assert 30 < resumed.step < 400
    resumed.run()
    assert_same_state(resumed.state(), straight.state())
    assert rows(tmp_path / "b") == rows(tmp_path / "a")


@pytest.mark.slow
def test_that_another_process_resumes_to_the_same_bits(tmp_path):
    straight = make_trainer(tmp_path / "a", checkpoint_minutes=0)
    straight.run()
    stop_after(make_trainer(tmp_path / "b", checkpoint_minutes=0), 10)
    code = (
        "import sys, pathlib, test_training as t; "
        "trainer = t.make_trainer(pathlib.Path(sys.argv[1]), checkpoint_minutes=0); trainer.resume(); trainer.run()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], cwd=HERE, check=True)
    again = make_trainer(tmp_path / "b", checkpoint_minutes=0)
    again.resume()
    assert_same_state(again.state(), straight.state())
    assert rows(tmp_path / "b") == rows(tmp_path / "a")


def test_that_metrics_later_than_the_checkpoint_are_dropped(tmp_path):
    make_trainer(tmp_path, steps=8).run()
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as f:
        f.write('{"step": 12, "loss": 1.0}\n{"step": 8, "lo')  # the second is a row that was cut short
    make_trainer(tmp_path, steps=8).resume()
    assert [row["step"] for row in rows(tmp_path)] == [4, 8]


def test_that_a_checkpoint_from_before_the_losses_were_kept_still_resumes(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.update()
    torch.save({k: v for k, v in trainer.state().items() if k != "losses"}, tmp_path / "last.pt")
    resumed = make_trainer(tmp_path, denoiser=make_denoiser(seed=9))
    resumed.resume()
    assert_same_state(resumed.state(), trainer.state())


def test_that_checkpoints_follow_the_clock_and_not_the_validations(tmp_path, monkeypatch):
    clock, saved = iter(range(10_000)), []  # every look at the clock takes a second
    monkeypatch.setattr(
        "scoreda.diffusion.training.trainer.time", SimpleNamespace(monotonic=lambda: float(next(clock)))
    )
    trainer = make_trainer(tmp_path, steps=20, validate_every=20, checkpoint_minutes=11 / 60)
    trainer.save = lambda: saved.append(trainer.step)
    trainer.run()
    assert saved == [6, 12, 18, 20]


def test_that_a_finished_training_has_nothing_left_to_do(tmp_path):
    make_trainer(tmp_path, steps=4).run()
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again = make_trainer(tmp_path, steps=4)
    again.resume()
    again.run()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


# What must not happen.


def spoil(trainer, after):
    """Turn the weights into NaN after so many updates."""
    update = trainer.update

    def update_and_spoil():
        loss = update()
        if trainer.step == after:
            trainer.denoiser.network.enter.weight.data.fill_(math.nan)
        return loss

    trainer.update = update_and_spoil


@pytest.mark.parametrize("after", [7, 8, 10])
def test_that_a_nan_stops_training_with_the_last_checkpoint_untouched(tmp_path, after):
    trainer = make_trainer(tmp_path)
    for _ in range(6):
        trainer.update()
    trainer.save()
    (tmp_path / "metrics.jsonl").touch()
    good = (tmp_path / "last.pt").read_bytes()
    spoil(trainer, after)
    with pytest.raises(ScoredaError, match="NaN or infinite.*untouched"):
        trainer.run()
    assert (tmp_path / "last.pt").read_bytes() == good
    assert [row["step"] for row in rows(tmp_path)] == ([8] if after == 10 else [])
    assert all(math.isfinite(row["loss"] + row["valid"]) for row in rows(tmp_path))


def test_that_a_nan_before_the_first_checkpoint_promises_none(tmp_path):
    trainer = make_trainer(tmp_path)
    spoil(trainer, 2)
    with pytest.raises(ScoredaError, match="by step 4; before the first checkpoint"):
        trainer.run()
    assert not (tmp_path / "last.pt").exists()


def test_that_a_nan_between_validations_is_never_checkpointed(tmp_path):
    trainer = make_trainer(tmp_path, validate_every=20, checkpoint_minutes=0)
    spoil(trainer, 6)
    with pytest.raises(ScoredaError, match="by step 6"):
        trainer.run()
    again = make_trainer(tmp_path, validate_every=20, checkpoint_minutes=0)
    again.resume()
    assert again.step == 5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_that_bad_samples_are_refused_by_their_number(tmp_path, value):
    data = FIELDS.clone()
    data[17, 0, 3] = value
    with pytest.raises(ValueError, match=r"`data` holds NaN or Inf, first in sample 17\."):
        make_trainer(tmp_path, data)


def test_that_arrays_train_like_tensors(tmp_path):
    tensors, arrays = (make_trainer(tmp_path, data) for data in (FIELDS, FIELDS.numpy().astype(float)))
    assert torch.equal(arrays.update(), tensors.update())


def test_that_no_samples_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`data` is empty"):
        make_trainer(tmp_path, FIELDS[:0])


BAD_SETTINGS = [
    {"steps": 0}, {"batch": 0}, {"validate_every": 0}, {"precision": "bf16"}, {"level_steps": 0}, {"accumulate": 9},
    {"norm": "l3"}, {"levels": "normal"}, {"optimiser": "sgd"}, {"lr_schedule": "cos"}, {"lr": 0.0}, {"ema": 1.0},
    {"ema_extra": [1.5]}, {"warmup": -1}, {"condition_dropout": 1.1}, {"clip": -1.0}, {"beta2": 1.0}, {"seed": -1},
    {"lr": math.nan}, {"weight_decay": -0.1}, {"lr_final": 1.5}, {"sigma_std": 0.0}, {"checkpoint_minutes": -1.0},
    {"steps": 2.5}, {"batch": "8"}, {"seed": None}, {"lr": "1e-3"}, {"sigma_mean": "0"}, {"ema_extra": ["0.9"]},
]  # fmt: skip


@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_that_settings_without_a_training_are_refused(setting):
    with pytest.raises(ValueError, match=f"`{next(iter(setting))}` must be"):
        TrainSettings(**{"batch": 8} | setting)


def test_that_another_schedule_is_not_resumed(tmp_path):
    make_trainer(tmp_path, steps=4).run()
    denoiser = make_denoiser()
    denoiser.schedule = VPCosine()
    with pytest.raises(ScoredaError, match="trained under the schedule {'name': 'edm'.*not {'name': 'vp_cosine'"):
        make_trainer(tmp_path, steps=4, denoiser=denoiser).resume()


def test_that_a_checkpoint_from_before_a_setting_existed_was_made_with_its_default(tmp_path):
    trainer = make_trainer(tmp_path, steps=4)
    trainer.update()
    state = trainer.state()
    state["settings"] = {k: v for k, v in state["settings"].items() if k not in ("norm", "levels")}
    torch.save(state, tmp_path / "last.pt")
    make_trainer(tmp_path, steps=4).resume()
    with pytest.raises(ScoredaError, match=r"other settings \(norm\)"):
        make_trainer(tmp_path, steps=4, norm="l1").resume()


def test_that_other_settings_are_not_resumed(tmp_path):
    make_trainer(tmp_path, steps=4).run()
    with pytest.raises(ScoredaError, match=r"other settings \(steps, lr\)"):
        make_trainer(tmp_path, steps=8, lr=0.5).resume()


OTHERWISE_BUILT = {
    "width": (make_denoiser(width=8), "network was made with width = 4, not 8"),
    "domain": (make_denoiser(circular=False), "network was made with circular = True, not False"),
    "embedding": (make_denoiser(embedding=dict(width=8, base=10.0)), "network was made with embedding = 8, not {"),
    "unit": (KarrasDenoiser(make_denoiser().network, EDM(), 0.5), "denoiser was made with sigma_data = 1.0, not 0.5"),
    "target": (TargetDenoiser(make_denoiser().network, EDM()), "denoiser was made with name = karras, not target"),
}


@pytest.mark.parametrize("kind", OTHERWISE_BUILT)
def test_that_what_was_built_otherwise_is_not_resumed_though_the_weights_may_fit(tmp_path, kind):
    other, message = OTHERWISE_BUILT[kind]
    make_trainer(tmp_path, steps=4).run()
    with pytest.raises(ScoredaError, match=f"last.pt: its {message}.*Build it as it was trained"):
        make_trainer(tmp_path, steps=4, denoiser=other).resume()


def test_that_another_weighting_is_not_resumed(tmp_path):
    one, other = (TargetDenoiser(make_denoiser().network, EDM(), weighting=w) for w in ("snr", "min_snr"))
    make_trainer(tmp_path, steps=4, denoiser=one).run()
    with pytest.raises(ScoredaError, match="weighting = snr, not min_snr"):
        make_trainer(tmp_path, steps=4, denoiser=other).resume()


class Bare(torch.nn.Module):
    """A user's network, which does not tell how it was built."""

    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(12, 12 * width)

    def forward(self, x, c_noise):
        return self.layer(x).unflatten(-1, (12, -1)).mean(-1)


def test_that_a_network_without_a_spec_resumes_if_its_weights_fit(tmp_path):
    one, same, other = (KarrasDenoiser(Bare(width), EDM()) for width in (2, 2, 3))
    make_trainer(tmp_path, steps=4, denoiser=one).run()
    resumed = make_trainer(tmp_path, steps=4, denoiser=same)
    resumed.resume()
    assert torch.equal(same.network.layer.weight, one.network.layer.weight)
    with pytest.raises(ScoredaError, match="not a checkpoint of this network"):
        make_trainer(tmp_path, steps=4, denoiser=other).resume()


def test_that_a_checkpoint_from_before_the_specs_were_kept_still_resumes(tmp_path):
    trainer = make_trainer(tmp_path, steps=4)
    trainer.update()
    torch.save({k: v for k, v in trainer.state().items() if k != "built"}, tmp_path / "last.pt")
    resumed = make_trainer(tmp_path, steps=4, denoiser=make_denoiser(seed=9))
    resumed.resume()
    assert_same_state(resumed.state(), trainer.state())


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


BAD_CHECKPOINTS = {
    "truncated": (truncate, "damaged, or not written by a training"),
    "object": (lambda path: torch.save({"settings": Path("x")}, path), "damaged, or not written by a training"),
    "foreign": (lambda path: torch.save(torch.zeros(3), path), "damaged, or not written by a training"),
    "missing": (lambda path: path.unlink(), "no checkpoint to resume"),
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_that_an_unreadable_checkpoint_is_refused_and_the_metrics_stay(tmp_path, kind):
    damage, message = BAD_CHECKPOINTS[kind]
    make_trainer(tmp_path, steps=4).run()
    metrics = rows(tmp_path)
    damage(tmp_path / "last.pt")
    with pytest.raises(ScoredaError, match=message):
        make_trainer(tmp_path, steps=4).resume()
    assert rows(tmp_path) == metrics


# Details of the loop.


def test_that_the_learning_rate_rises_linearly_then_falls_along_a_cosine(tmp_path):
    trainer, used = make_trainer(tmp_path, steps=40, warmup=4, lr=0.1), []
    for _ in range(40):
        used.append(trainer.optimiser.param_groups[0]["lr"])
        trainer.update()
    cosine = [0.05 * (1 + math.cos(math.pi * k / 36)) for k in range(36)]
    assert used == pytest.approx([0.025, 0.05, 0.075, 0.1, *cosine])
    assert trainer.lr.get_last_lr()[0] == pytest.approx(0.0, abs=1e-15)


def test_that_the_average_is_exponential_from_the_first_update_on(tmp_path):
    trainer, expected = make_trainer(tmp_path, ema=0.9), None
    for _ in range(5):
        trainer.update()
        weight = trainer.denoiser.network.leave.weight.detach().clone()
        expected = weight if expected is None else 0.9 * expected + 0.1 * weight
    torch.testing.assert_close(trainer.averaged.network.leave.weight.detach(), expected)


def test_that_validation_repeats_itself_and_moves_no_generator(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.update()
    state = trainer.generator.get_state()
    assert trainer.validate() == trainer.validate()
    assert torch.equal(trainer.generator.get_state(), state)


def test_that_training_leaves_the_global_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    make_trainer(tmp_path).run()
    assert torch.equal(torch.get_rng_state(), before)


def test_that_the_callback_sees_every_row_and_a_missing_folder_is_made(tmp_path):
    seen = []
    make_trainer(tmp_path / "new/folder", steps=10).run(lambda trainer, row: seen.append((trainer.step, row["step"])))
    assert seen == [(4, 4), (8, 8), (10, 10)]
    assert {p.name for p in (tmp_path / "new/folder").iterdir()} == {"last.pt", "metrics.jsonl"}


def test_that_short_precisions_train_like_float32_and_keep_float32_weights(tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16", "float16"):
        data = dict(data=ring_fields(500, 1), valid=ring_fields(500, 2))
        trainer = make_trainer(tmp_path / precision, **data, precision=precision, steps=30, batch=32, validate_every=30)
        trainer.run()
        losses[precision] = rows(tmp_path / precision)[-1]["valid"]
    assert {w.dtype for w in trainer.averaged.parameters()} == {torch.float32}
    for short in ("bfloat16", "float16"):
        assert losses[short] != losses["float32"]
        assert losses[short] == pytest.approx(losses["float32"], rel=0.02)
        assert losses[short] < 0.97
