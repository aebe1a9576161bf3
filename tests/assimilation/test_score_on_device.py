"""What Score-4D does on a GPU, as far as it can be known without one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scoreda.assimilation import Score4D, assimilate
from scoreda.assimilation.score.symmetric import Symmetric
from scoreda.assimilation.score.torch_window import TorchWindow
from scoreda.assimilation.score.window_prior import GaussianWindowPrior, LearnedWindowPrior
from scoreda.datasets import Climatology, Normaliser, simulate
from scoreda.diffusion import EDM, ConvNet1d, KarrasDenoiser, Prior
from scoreda.diffusion.guidance.observed import Observed
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import (
    Elementwise,
    EveryNth,
    GaussianError,
    Identity,
    Interpolated,
    Linear,
    MovingSites,
    NeighbourProducts,
    Network,
    Observation,
    RandomSites,
    Sites,
    UserOperator,
    carried_to,
)

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
    """Refuses tensors of another device; numbers of the host, of no axis, are arguments of a kernel."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        assert {tensor.device.type for tensor in tensors if tensor.ndim} <= {"meta"}
        return out


@pytest.mark.parametrize("operator", [Identity(9), EveryNth(9, 3, 1), EveryNth(9, 4), Sites(9, [6]), Sites(9, [2, 3])])
def test_that_regular_sites_of_a_tensor_take_nothing_from_the_host(operator):
    E = np.random.default_rng(0).normal(size=(2, 9))
    np.testing.assert_array_equal(operator(torch.from_numpy(E)), operator(E))
    with OnDevice():
        assert operator(torch.empty(2, 9, device="meta")).shape == (2, operator.size)


class Masked:
    """A user's operator that picks variables by a mask."""

    name, state_size, size, carried = "masked", 9, 4, ("mask",)
    mask = np.arange(9) % 2 == 1

    def __call__(self, E):
        return E[..., self.mask]


EVERYWHERE = [
    Sites(9, [5, 3, 1]),
    RandomSites(9, 4, seed=1),
    Linear(np.arange(18.0).reshape(2, 9)),
    Interpolated(9, [0.25, 8.5]),
    NeighbourProducts(9, [0, 1, 3]),
    Elementwise(Interpolated(9, [0.25, 8.5]), "arctan"),
    MovingSites(9, 4, seed=1, function="abs").at(0.1),
    UserOperator(lambda E: E**2, 9, 9).restrict(np.array([5, 2, 7])).restrict(np.array([0, 2])),
]


@pytest.mark.parametrize("operator", EVERYWHERE, ids=lambda operator: operator.name)
def test_that_an_operator_carried_to_a_device_observes_there_as_before(operator):
    E = np.random.default_rng(0).normal(size=(2, 9))
    there = carried_to(torch.empty(0, dtype=torch.float64), operator)
    np.testing.assert_array_equal(there(torch.from_numpy(E)), operator(torch.from_numpy(E)))
    np.testing.assert_allclose(there(torch.from_numpy(E)), operator(E), rtol=1e-14)
    states = torch.empty(2, 9, device="meta")
    on_meta = carried_to(states, operator)
    with OnDevice():
        assert on_meta(states).shape == (2, operator.size)
    assert isinstance(operator(E), np.ndarray)  # the one on the host is as it was


def test_that_masks_and_indices_keep_their_type():
    E = np.random.default_rng(0).normal(size=(2, 9))
    np.testing.assert_array_equal(carried_to(torch.empty(0), Masked())(torch.from_numpy(E)), Masked()(E))


def test_that_guidance_carries_an_operator_along_and_takes_a_function_as_it_is():
    y = torch.zeros(2)
    matrix = Observed(y, Linear(np.arange(18.0).reshape(2, 9)), R=1.0).H.matrix
    assert isinstance(matrix, torch.Tensor) and matrix.dtype is torch.float32
    assert Observed(y, torch.cos, R=1.0).H is torch.cos


@pytest.mark.parametrize("sites", [[5, 3, 1], [2, 2, 2], [0, 1, 3], [8, 0]])
def test_that_other_sites_of_a_tensor_are_those_of_an_array(sites):
    E = np.random.default_rng(0).normal(size=(2, 9))
    np.testing.assert_array_equal(Sites(9, sites)(torch.from_numpy(E)), E[:, sites])


def test_that_a_window_on_a_device_takes_nothing_from_the_host():
    meta = torch.device("meta")
    kinds = [EveryNth(9, 3), Elementwise(Identity(9), "arctan"), UserOperator(torch.cos, 9, 9), *EVERYWHERE]
    seen = [(0.05, kinds[0])] + [(0.05 * k, kind) for k, kind in enumerate(kinds, 2)]
    past = [Observation(time, np.zeros(h.size), h, GaussianError(1 + np.arange(h.size), h.size)) for time, h in seen]
    window, nodes = TorchWindow(Lorenz96(9), 0.0, past, meta), torch.empty(13, 9, dtype=torch.float64, device=meta)
    with OnDevice():
        here = window.linearise(nodes)
        assert [part.shape for part in here] == [(), (9,), (9, 9), (9, 9)]
        assert window.move(nodes, nodes[0]).shape == window.extend(nodes[:1]).shape == (13, 9)
        assert window.misfit(nodes[None]).shape == (1,) and window.gaps(nodes[None]).shape == (1, 12, 9)


def test_that_a_gaussian_prior_on_a_device_takes_nothing_from_the_host():
    meta = torch.device("meta")
    there = GaussianWindowPrior(Climatology(np.ones(9), 4 * np.eye(9), np.zeros((2, 9))), meta)
    x = torch.empty(9, dtype=torch.float64, device=meta)
    with OnDevice():
        assert there.score(x, 1.0).shape == (9,) and there.precision(x, 1.0).shape == (9, 9)


def test_that_members_are_forecast_on_the_device_as_on_the_host():
    known, climate = Lorenz96(9), Climatology(np.zeros(9), np.eye(9), np.zeros((2, 9)))
    torch_alone = UserModel(lambda E: E * np.nan, 9, known.dt, torch_function=known.torch_step)
    host, device = Score4D(known, climate), Score4D(torch_alone, climate, device="cpu")
    rng, E = np.random.default_rng(0), np.random.default_rng(1).normal(size=(5, 9))
    obs = Observation(3 * known.dt, np.ones(9), Identity(9), GaussianError(1.0, 9))
    for seen in (obs, replace(obs, values=obs.values * np.nan)):
        (_, on_host), (after, on_device) = (method.step(method.init(E), seen, rng) for method in (host, device))
        np.testing.assert_allclose(on_device.prior, on_host.prior, rtol=1e-12)
        assert on_device.diagnostics["model_steps"] > 0
    assert not np.shares_memory(device.step(after, seen, rng)[0].ensemble, after.ensemble)


def test_that_a_model_may_be_a_network_with_weights_to_be_trained():
    network = torch.nn.Linear(8, 8, bias=False, dtype=torch.float64)
    matrix = network.weight.detach().numpy().T
    model = UserModel(
        lambda E: E @ matrix, 8, 0.05, tangent=lambda x, dX: (x @ matrix, dX @ matrix), torch_function=network
    )
    climate, E = Climatology(np.zeros(8), np.eye(8), np.zeros((2, 8))), np.random.default_rng(1).normal(size=(5, 8))
    obs = Observation(0.05, np.ones(8), Identity(8), GaussianError(1.0, 8))
    methods = [Score4D(model, climate, device=device) for device in (None, "cpu")]
    host, device = (method.step(method.init(E), obs, np.random.default_rng(0))[0] for method in methods)
    np.testing.assert_allclose(device.ensemble, host.ensemble, atol=1e-12)


# What goes wrong in torch is what goes wrong in NumPy


@pytest.mark.parametrize(("library", "matrix"), [(np, np.eye(2)), (torch, torch.eye(2))])
def test_that_eigenvalues_that_are_not_found_are_the_same_error_in_both_libraries(monkeypatch, library, matrix):
    def fails(S):
        raise library.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(library.linalg, "eigh", fails)
    with pytest.raises(np.linalg.LinAlgError, match="no convergence"):
        Symmetric.of(matrix, floor=0.0)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_that_a_search_that_diverges_is_recorded_on_every_device(device):
    known = Lorenz96(8)
    twin = simulate(known, Network(Identity(8), GaussianError(1.0, 8), interval=known.dt), 3, seed=1, spinup=1.0)
    model = UserModel(
        lambda E: E * np.nan, 8, known.dt,
        tangent=lambda x, dX: (x * np.nan, dX * np.nan), torch_function=lambda x: x * torch.nan,
    )  # fmt: skip
    method = Score4D(model, Climatology(np.zeros(8), np.eye(8), np.zeros((2, 8))), device=device)
    run = assimilate(twin, method, np.zeros((5, 8)), np.random.default_rng(0))
    assert run.attrs["diverged"] == 0


WEIGHTS = np.random.default_rng(1).normal(size=(3, 8))
OF_ARRAYS = {
    "matrix": lambda E: E @ WEIGHTS.T,
    "ufunc": lambda E: np.sin(E)[..., :3],
    "array": lambda E: np.asarray(E)[..., :3],
    "method": lambda E: E.astype(float)[..., :3],
}


@pytest.mark.filterwarnings("ignore:__array_wrap__")
@pytest.mark.parametrize("function", OF_ARRAYS.values(), ids=OF_ARRAYS)
def test_that_an_operator_for_arrays_alone_is_refused_on_a_device_with_the_fix(function):
    operator = UserOperator(function, 8, 3, tangent=lambda x, dX: dX @ WEIGHTS.T)
    obs = Observation(0.05, np.zeros(3), operator, GaussianError(1.0, 3))
    climate = Climatology(np.zeros(8), np.eye(8), np.zeros((2, 8)))
    rng, E = np.random.default_rng(0), np.random.default_rng(1).normal(size=(5, 8))
    on_host, on_device = (Score4D(Lorenz96(8), climate, device=device) for device in (None, "cpu"))
    assert np.isfinite(on_host.step(on_host.init(E), obs, rng)[0].ensemble).all()
    with pytest.raises(ValueError, match="must take torch tensors .* no `device`"):
        on_device.step(on_device.init(E), obs, rng)
