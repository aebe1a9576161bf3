"""What Score-4D does on a GPU, as far as it can be known without one."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scoreda.assimilation.score.window_prior import LearnedWindowPrior
from scoreda.datasets import Normaliser
from scoreda.diffusion import EDM, ConvNet1d, KarrasDenoiser, Prior
from scoreda.observations import EveryNth, Identity, Sites

X = np.arange(-4, 12, 2) / 2  # exact in single precision, normalised too


def prior():
    torch.manual_seed(0)
    denoiser = KarrasDenoiser(ConvNet1d(width=8, blocks=1, embedding=8), EDM())
    torch.nn.init.normal_(denoiser.network.leave.weight, std=0.3)
    return Prior(denoiser, Normaliser(1.0, 2.0))


class OnGpu:
    """A prior on the processor that says it is on a GPU."""

    device = torch.device("cuda")

    def __init__(self, known):
        self.known = known

    def __getattr__(self, name):
        return getattr(self.known, name)


def test_that_the_curvature_of_the_prior_is_taken_in_double_precision_on_a_gpu():
    double = prior()
    double.denoiser.double()
    single, on_gpu = prior(), OnGpu(prior())
    exact, rounded, found = (LearnedWindowPrior(p).precision(X, 1.5) for p in (double, single, on_gpu))
    np.testing.assert_allclose(found, exact, atol=1e-13)
    assert np.abs(rounded - exact).max() > 1e-9
    assert on_gpu.dtype is torch.float32


def test_that_the_curvature_of_the_prior_is_that_of_the_host_for_tensors():
    known = LearnedWindowPrior(prior())
    np.testing.assert_allclose(known.precision(torch.from_numpy(X), 1.5), known.precision(X, 1.5), atol=1e-14)


class OnDevice(TorchDispatchMode):
    """Refuses tensors of another device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        assert {tensor.device.type for tensor in tensors} == {"meta"}
        return out


@pytest.mark.parametrize("operator", [Identity(9), EveryNth(9, 3, 1), EveryNth(9, 4), Sites(9, [6]), Sites(9, [2, 3])])
def test_that_regular_sites_of_a_tensor_take_nothing_from_the_host(operator):
    E = np.random.default_rng(0).normal(size=(2, 9))
    np.testing.assert_array_equal(operator(torch.from_numpy(E)), operator(E))
    with OnDevice():
        assert operator(torch.empty(2, 9, device="meta")).shape == (2, operator.size)


@pytest.mark.parametrize("sites", [[5, 3, 1], [2, 2, 2], [0, 1, 3], [8, 0]])
def test_that_other_sites_of_a_tensor_are_those_of_an_array(sites):
    E = np.random.default_rng(0).normal(size=(2, 9))
    np.testing.assert_array_equal(Sites(9, sites)(torch.from_numpy(E)), E[:, sites])
