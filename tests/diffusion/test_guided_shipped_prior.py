"""Every sampler with every guidance method on Lorenz96 with the prior that is shipped: finite, and near the data."""

import pytest
import torch

from scoreda.diffusion import (
    DPS,
    GUIDANCE,
    SAMPLERS,
    SDA,
    TMPD,
    HeunSampler,
    RePaint,
    TwistedSMC,
    VPCosine,
    load_prior,
    noise,
)

OBS_STD, STEP = 0.3, 4  # normalised units, and between observed variables
STEPS = dict(ddpm=30, euler_maruyama=40, predictor_corrector=20)


@pytest.fixture(scope="module")
def prior():
    return load_prior("lorenz96")


@pytest.fixture(scope="module")
def y(prior):
    truth = HeunSampler(prior.denoiser, 18)(start(prior.denoiser, 1))
    return H(truth)[0]


def H(x):
    return x.flatten(1)[:, ::STEP]


def start(denoiser, number, seed=0):
    return noise((number, 1, 16), denoiser, torch.Generator().manual_seed(seed))


def misfit(x, y):
    return float((H(x) - y).square().mean().sqrt())


def settings(name):
    return dict(covariance=torch.ones(9)) if name == "jfps" else {}


@pytest.mark.parametrize("name", GUIDANCE)
def test_that_every_sampler_follows_sparse_observations(name, prior, y):
    guided = GUIDANCE[name](prior.denoiser, y, H, OBS_STD**2, **settings(name))
    for kind, sampler in SAMPLERS.items():
        generator = torch.Generator().manual_seed(2)
        x = sampler(guided, STEPS.get(kind, 18), generator)(start(prior.denoiser, 3, seed=1))
        assert misfit(x, y) < 3 * OBS_STD, kind
        assert float(x.abs().max()) < 4, kind


def test_that_particles_and_inpainting_follow_them_too(prior, y):
    generator = torch.Generator().manual_seed(2)
    particles = TwistedSMC(prior.denoiser, y, H, OBS_STD**2, generator, steps=60)
    known = torch.full((16,), torch.nan)
    known[::STEP] = y
    filled = RePaint(prior.denoiser, known, 40, generator, R=OBS_STD**2, resamplings=2)
    for method in (particles, filled):
        x = method(start(prior.denoiser, 32, seed=1))
        assert misfit(x, y) < 2 * OBS_STD
        assert float(x.abs().max()) < 4


def test_that_the_margin_that_the_warning_names_keeps_guidance_from_running_away(prior, y):
    with pytest.warns(UserWarning, match=r"starts at sigma / alpha = 1e\+03.*VPCosine\(margin=0.013\)"):
        far = prior.under(VPCosine())
    near = prior.under(VPCosine(margin=0.013))
    run = lambda p: HeunSampler(TMPD(p.denoiser, y, H, 0.1**2), 20)(start(p.denoiser, 4))
    assert float(run(far).abs().max()) > 10
    assert float(run(near).abs().max()) < 4


def test_that_precise_observations_need_the_settings_that_the_methods_name(prior, y):
    run = lambda guided: HeunSampler(guided, 20)(start(prior.denoiser, 3))
    precise = (prior.denoiser, y, H, 0.02**2)
    for tame in (DPS(*precise, zeta=1.0), SDA(*precise, gamma=0.3), SDA(*precise, covariance=torch.ones(9))):
        assert misfit(run(tame), y) < 0.5
        assert float(run(tame).abs().max()) < 4
    with pytest.warns(RuntimeWarning, match="3 of 3 samples are not finite: .*MomentMatching"):
        run(DPS(*precise))
