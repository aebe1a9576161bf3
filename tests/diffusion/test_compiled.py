"""Compiled denoisers against the same ones run operation by operation."""

import pytest
import torch

from scoreda.diffusion import Compiled, HeunSampler, MomentMatching, VPCosine, load_prior, noise


def guided():
    prior = load_prior("lorenz96").under(VPCosine(margin=1 / 80)).denoiser
    return MomentMatching(prior, torch.linspace(-1, 1, 20), lambda x: x[:, 0, ::2], 0.1, iterations=1)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_that_a_compiled_guided_run_is_the_run(backend):
    plain = guided()
    x = noise((4, 1, 40), plain, torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = HeunSampler(plain, 3)(x)
        found = HeunSampler(Compiled(plain, backend), 3)(x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
