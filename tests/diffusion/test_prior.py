"""Priors: files that round-trip to the bit, samples that depend on the seed alone, and files that are refused."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scoreda.datasets import Normaliser
from scoreda.diffusion import EDM, ConvNet1d, KarrasDenoiser, Prior, VPCosine, load_prior, save_prior, shipped_priors
from scoreda.diffusion.denoisers import LearnedDenoiser, TargetDenoiser
from scoreda.diffusion.networks import MLP, CausalWindow, ConvNet2d, UNet1d
from scoreda.diffusion.schedules import DDPM, RectifiedFlow, VPLinear
from scoreda.errors import ScoredaError

SCHEDULES = [EDM(0.01, 60.0, 5.0), VPCosine(0.02)]
STATES = 10 + 3 * np.random.default_rng(0).normal(size=(5, 12))


def make_prior(schedule=SCHEDULES[0], sigma_data=0.9, trained=True, **network):
    """A prior of fields around 10 with standard deviation 3."""
    settings = dict(width=4, blocks=1, kernel=3, embedding=8) | network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        denoiser = KarrasDenoiser(ConvNet1d(**settings), schedule, sigma_data)
        if trained:
            for weight in denoiser.parameters():
                torch.nn.init.normal_(weight, std=0.2)
    return Prior(denoiser, Normaliser(10.0, 3.0), card={"name": "tiny", "result": {"valid": 0.5}})


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("network", [{}, {"circular": False, "kernel": 5}], ids=["ring", "line"])
def test_that_a_prior_comes_back_from_its_file_to_the_bit(tmp_path, schedule, network):
    prior = make_prior(schedule, **network)
    path = save_prior(tmp_path, prior)
    for source in (tmp_path, path, str(path)):
        again = load_prior(source)
        assert again.card == prior.card
        assert again.normaliser == prior.normaliser
        assert again.denoiser.schedule.spec() == schedule.spec()
        assert again.denoiser.network.spec() == prior.denoiser.network.spec()
        np.testing.assert_array_equal(again.denoise(STATES, 1.0), prior.denoise(STATES, 1.0))
        np.testing.assert_array_equal(again.sample(3, 12, seed=1, steps=4), prior.sample(3, 12, seed=1, steps=4))


DENOISERS = {
    "karras": lambda network: KarrasDenoiser(network, SCHEDULES[0], 0.9),
    "epsilon": lambda network: TargetDenoiser(network, VPLinear(), "epsilon"),
    "velocity": lambda network: TargetDenoiser(network, RectifiedFlow(), "velocity", weighting="uniform"),
    "step": lambda network: TargetDenoiser(network, DDPM(steps=20, beta_max=0.5), "v", noise_input="step"),
}
NETWORKS = {
    "plane": (lambda: ConvNet2d(width=4, blocks=1), (6, 8)),
    "window": (lambda: UNet1d(channels=3, widths=[4, 8]), (3, 12)),
    "numbers": (lambda: MLP(channels=5, width=8, layers=1), (5,)),
    "causal plane": (lambda: CausalWindow(ConvNet2d(channels=2, width=4, blocks=1)), (3, 6, 8)),
    "causal": (lambda: CausalWindow(ConvNet1d(channels=2, width=4, blocks=1)), (7, 9)),
}


def made(network, denoiser):
    """A prior with random weights everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        built = DENOISERS[denoiser](network())
        for weight in built.parameters():
            torch.nn.init.normal_(weight, std=0.2)
    return Prior(built, Normaliser(10.0, 3.0))


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_that_priors_of_every_kind_come_back_to_the_bit_and_sample_states_of_their_shape(tmp_path, network, denoiser):
    make, shape = NETWORKS[network]
    prior = made(make, denoiser)
    save_prior(tmp_path, prior)
    again = load_prior(tmp_path)
    assert again.denoiser.spec() == prior.denoiser.spec()
    size = shape[1:] if network == "window" else shape
    samples = prior.sample(3, size, seed=1, steps=3)
    assert samples.shape == (3, *shape)
    np.testing.assert_array_equal(again.sample(3, size, seed=1, steps=3), samples)
    assert prior.denoise(samples, 1.0).shape == samples.shape
    np.testing.assert_array_equal(again.denoise(samples, 1.0), prior.denoise(samples, 1.0))
    np.testing.assert_allclose(prior.array(prior.tensor(samples)), samples, rtol=1e-5)


def test_that_one_size_is_that_of_every_axis():
    prior = made(NETWORKS["plane"][0], "karras")
    np.testing.assert_array_equal(prior.sample(2, 6, seed=1, steps=2), prior.sample(2, (6, 6), seed=1, steps=2))


def test_that_noise_is_removed_alike_in_the_time_of_any_schedule():
    prior = made(NETWORKS["window"][0], "karras")
    states = 10 + np.random.default_rng(1).normal(size=(4, 3, 12))
    x = prior.tensor(states)
    expected = prior.denoiser.denoise(x, torch.full((4, 1, 1), 0.5))
    for schedule in SCHEDULES:
        same = prior.under(schedule)
        t = schedule.time(torch.tensor(0.5, dtype=torch.float64)).float()
        torch.testing.assert_close(same.denoiser(schedule.alpha(t) * x, t), expected, rtol=1e-3, atol=1e-4)
    assert prior.denoiser.schedule is SCHEDULES[0]


def test_that_the_generic_way_to_remove_noise_is_that_of_the_preconditioned_network():
    prior = made(NETWORKS["window"][0], "karras")
    x, s = prior.tensor(np.full((2, 3, 12), 11.0)), torch.tensor([0.2, 3.0])[:, None, None]
    generic = LearnedDenoiser.denoise(prior.denoiser, x, s)
    torch.testing.assert_close(generic, prior.denoiser.denoise(x, s), rtol=1e-4, atol=1e-5)


def test_that_weights_tied_to_a_schedule_are_refused_under_another():
    with pytest.raises(ValueError, match="trained under the schedule {'name': 'vp_linear'.*train again"):
        made(NETWORKS["window"][0], "epsilon").under(EDM())


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [("window", (4, 2, 12), r"\(N, 3, Nx\), got \(4, 2, 12\)"), ("plane", (4, 12), r"\(N, H, W\), got \(4, 12\)")],
)
def test_that_states_of_another_shape_are_refused(network, shape, expected):
    with pytest.raises(ValueError, match=expected):
        made(NETWORKS[network][0], "karras").denoise(np.zeros(shape), 1.0)


def test_that_double_precision_weights_stay_what_they_are(tmp_path):
    prior = make_prior()
    prior.denoiser.double()
    save_prior(tmp_path, prior)
    assert load_prior(tmp_path).dtype == torch.float64
    np.testing.assert_array_equal(load_prior(tmp_path).denoise(STATES, 1.0), prior.denoise(STATES, 1.0))


def test_that_the_first_file_format_is_read_for_ever(tmp_path):
    prior = make_prior()
    config = dict(
        network=prior.denoiser.network.spec(),
        schedule=prior.denoiser.schedule.spec(),
        sigma_data=0.9,
        normaliser=prior.normaliser.to_dict(),
    )
    header = {"format": "scoreda-prior-1", "config": json.dumps(config), "card": "{}"}
    save_file(prior.denoiser.state_dict(), tmp_path / "weights.safetensors", metadata=header)
    np.testing.assert_array_equal(load_prior(tmp_path).denoise(STATES, 1.0), prior.denoise(STATES, 1.0))


def test_that_saving_makes_the_folder_and_leaves_one_file(tmp_path):
    path = save_prior(tmp_path / "new/folder", make_prior())
    assert list((tmp_path / "new/folder").iterdir()) == [path]


def test_that_loading_leaves_the_global_random_state_alone(tmp_path):
    save_prior(tmp_path, make_prior())
    before = torch.get_rng_state()
    load_prior(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [8, 12, 41])
def test_that_samples_depend_on_the_seed_alone_at_any_size(size):
    prior, before = make_prior(), torch.get_rng_state()
    samples = prior.sample(5, size, seed=4, steps=4)
    assert samples.shape == (5, size) and samples.dtype == np.float64
    torch.rand(3)
    np.testing.assert_array_equal(prior.sample(5, size, seed=4, steps=4), samples)
    assert not np.isclose(prior.sample(5, size, seed=5, steps=4), samples).any()
    torch.set_rng_state(before)
    prior.sample(5, size, seed=4, steps=4)
    assert torch.equal(torch.get_rng_state(), before)


def test_that_samples_come_in_batches_of_different_states():
    samples = make_prior().sample(7, 6, seed=0, steps=3, batch=3)
    assert samples.shape == (7, 6)
    assert len(np.unique(samples.round(6), axis=0)) == 7
    assert make_prior().sample(0, 6, seed=0).shape == (0, 6)


def test_that_samples_of_an_untrained_prior_are_white_noise_in_physical_units():
    prior = make_prior(VPCosine(), sigma_data=1.0, trained=False)  # the flow leaves white noise alone
    samples = prior.sample(1000, 10, seed=1, steps=16)
    assert samples.mean() == pytest.approx(10.0, abs=0.12)
    assert samples.std() == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("sigma", [0.7, np.array([0.1, 0.5, 1.0, 3.0, 9.0])], ids=["scalar", "rows"])
def test_that_denoising_takes_and_gives_physical_units(sigma):
    prior = make_prior()
    s = torch.as_tensor(np.broadcast_to(sigma, 5) / 3.0, dtype=torch.float32)
    x = torch.as_tensor((STATES - 10.0) / 3.0, dtype=torch.float32)[:, None]
    x_hat = prior.denoiser(x, SCHEDULES[0].time(s.double()).float())
    np.testing.assert_allclose(prior.denoise(STATES, sigma), 10.0 + 3.0 * x_hat[:, 0].double().numpy(), rtol=1e-4)


def test_that_an_untrained_prior_shrinks_towards_the_mean_as_optimal_interpolation_does():
    prior = make_prior(sigma_data=1.0, trained=False)
    np.testing.assert_allclose(prior.denoise(STATES, 1.5), 10.0 + (STATES - 10.0) * 9.0 / (9.0 + 2.25), rtol=1e-5)


def rewrite(path, weights=lambda w: w, prior=None, **changes):
    """Save the tensors of a prior's file again with other entries in its header."""
    prior = prior or load_prior(path)
    network, schedule = prior.denoiser.network.spec(), prior.denoiser.schedule.spec()
    config = dict(network=network, schedule=schedule, sigma_data=0.9, normaliser=prior.normaliser.to_dict())
    header = {"format": "scoreda-prior-1", "card": "{}", "config": json.dumps(config | changes)}
    save_file({name: weights(w) for name, w in load_file(path).items()}, path, metadata=header)


def retarget(path, target="epsilon", schedule=None):
    """Write a prior that predicts the noise under VPLinear, then tell its file something else."""
    prior = made(NETWORKS["window"][0], "epsilon")
    save_prior(path.parent, prior)
    spec = prior.denoiser.spec() | {"target": target}
    rewrite(path, prior=prior, denoiser=spec, schedule=(schedule or VPLinear()).spec())


NETWORK = dict(channels=1, width=4, blocks=1, kernel=3, circular=True, embedding=8)
REFUSED = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:2000]), "truncated.*train it again"),
    "empty": (lambda path: path.write_bytes(b""), "truncated.*train it again"),
    "torch.save": (lambda path: torch.save({"w": torch.zeros(3)}, path), "pickle.*save_prior"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1, 2])), "pickle.*save_prior"),
    "foreign": (lambda path: save_file({"w": torch.zeros(3)}, path), "not a scoreda prior.*save_prior"),
    "narrower": (lambda path: rewrite(path, network=NETWORK | {"name": "convnet1d", "width": 5}), "do not fit.*Train"),
    "unknown network": (lambda path: rewrite(path, network=NETWORK | {"name": "unet"}), "do not fit.*'unet'.*Train"),
    "unknown schedule": (lambda path: rewrite(path, schedule={"name": "emd"}), "did you mean 'edm'.*Train again"),
    "unknown denoiser": (lambda path: rewrite(path, denoiser={"name": "karas"}), "did you mean 'karras'.*Train again"),
    "other target": (
        lambda path: retarget(path, target="v"),
        "target = 'epsilon' do not fit target = 'v'",
    ),
    "other schedule": (
        lambda path: retarget(path, schedule=VPLinear(beta_max=30.0)),
        "trained with schedule = .*20.* do not fit schedule = .*30",
    ),
    "mixed precision": (
        lambda path: rewrite(path, weights=lambda w: w.double() if w.ndim > 1 else w),
        "the weights mix torch.float32, torch.float64.*Train again",
    ),
    "no normaliser": (lambda path: rewrite(path, normaliser={}), "do not fit.*Train again"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_that_a_file_that_is_no_prior_is_refused_with_its_name_and_the_remedy(tmp_path, kind):
    spoil, message = REFUSED[kind]
    path = save_prior(tmp_path, make_prior())
    spoil(path)
    with pytest.raises(ScoredaError, match=f"(?s){path}.*{message}"):
        load_prior(tmp_path)


def test_that_no_pickle_is_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    (tmp_path / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ScoredaError, match="pickle"):
        load_prior(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_that_a_header_as_long_as_a_pickle_s_first_bytes_is_still_a_prior(tmp_path):
    prior = make_prior()
    path = save_prior(tmp_path, prior)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    prior.card["note"] = "x" * (int.from_bytes(b"PK", "little") - length - 16)
    path = save_prior(tmp_path, prior)
    assert path.read_bytes()[:2] == b"PK"
    assert load_prior(tmp_path).card == prior.card


def test_that_an_unknown_name_is_answered_with_what_there_is():
    with pytest.raises(ScoredaError, match="no prior 'lorentz': neither a folder .* nor shipped"):
        load_prior("lorentz")


def test_that_every_shipped_prior_loads_and_samples():
    for name in shipped_priors():
        assert np.isfinite(load_prior(name).sample(2, 16, seed=0, steps=2)).all()


def test_that_a_failing_save_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = save_prior(tmp_path, make_prior())
    before = path.read_bytes()

    def full_disk(tensors, filename, metadata):
        with open(filename, "wb") as f:
            f.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_prior(tmp_path, make_prior(sigma_data=2.0))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_that_a_card_that_is_not_plain_data_writes_nothing(tmp_path):
    prior = make_prior()
    prior.card["made"] = object()
    with pytest.raises(TypeError, match="JSON"):
        save_prior(tmp_path / "new", prior)
    assert not (tmp_path / "new").exists()


def test_that_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ScoredaError, match="Choose a folder"):
        save_prior(tmp_path / "file" / "prior", make_prior())
