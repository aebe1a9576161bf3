"""Compiled denoisers, and those in half precision, against the same ones run operation by operation."""

import numpy as np
import pytest
import torch

from scoreda.diffusion import Compiled, HeunSampler, MomentMatching, VPCosine, load_prior, noise, save_prior
from scoreda.errors import ScoredaError


def guided(dtype="float32"):
    prior = load_prior("lorenz96").under(VPCosine(margin=1 / 80))
    prior = prior if dtype == "float32" else prior.autocast(dtype)
    return MomentMatching(prior.denoiser, torch.linspace(-1, 1, 20), lambda x: x[:, 0, ::2], 0.1, iterations=1)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_that_a_compiled_guided_run_is_the_run(backend):
    plain = guided()
    x = noise((4, 1, 40), plain, torch.Generator().manual_seed(0))
    compiled = Compiled(plain, backend)
    for _ in range(2):  # what is compiled is not compiled again, and holds no weights and observations of its own
        torch.testing.assert_close(HeunSampler(compiled, 3)(x), HeunSampler(plain, 3)(x), atol=1e-4, rtol=1e-4)
        plain.observed.y += 0.5
        for weight in plain.denoiser.network.parameters():
            weight.data *= 1.01


@pytest.mark.parametrize("fused", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype, error", [("bfloat16", 0.02), ("float16", 0.004)])
def test_that_half_precision_moves_a_guided_run_by_its_rounding(dtype, error, fused):
    plain, half = guided(), guided(dtype)
    x = noise((16, 1, 40), plain, torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = HeunSampler(plain, 5)(x)
        found = HeunSampler(Compiled(half) if fused else half, 5)(x)
    assert found.dtype == torch.float32
    moved = float((found - expected).square().mean().sqrt() / expected.std())
    assert 1e-6 < moved < error  # above: its network is in half precision indeed


def test_that_half_precision_ends_at_the_prior():
    half, seen = guided("bfloat16"), []
    half.observed.H = lambda x: seen.append((x.dtype, torch.is_autocast_enabled("cpu"))) or x[:, 0, ::2]
    half(torch.zeros(2, 1, 40), torch.tensor(0.5))
    assert set(seen) == {(torch.float32, False)}


def test_a_prior_in_half_precision_in_a_file_and_in_tiles(tmp_path):
    prior = load_prior("lorenz96").autocast()
    save_prior(tmp_path / "half", prior)
    again, x = load_prior(tmp_path / "half"), np.random.default_rng(0).normal(size=(2, 400))
    np.testing.assert_array_equal(again.denoise(x, 0.5), prior.denoise(x, 0.5))
    # Convolutions of other sizes round otherwise.
    np.testing.assert_allclose(prior.within(2_000_000).denoise(x, 0.5), prior.denoise(x, 0.5), atol=0.1)


def test_that_another_precision_is_refused():
    with pytest.raises(ScoredaError, match="unknown dtype 'float8'"):
        load_prior("lorenz96").autocast("float8")
