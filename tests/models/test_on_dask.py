"""An ensemble whose members are forecast elsewhere: the bits of the plain model, whoever forecasts which."""

import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scoreda.assimilation import LETKF, CoupledScoreFilter, Decomposed, FourDVar, assimilate, initial_ensemble, resume
from scoreda.datasets import climatology, simulate
from scoreda.errors import ScoredaError
from scoreda.models import (
    MODELS,
    AdditiveError,
    Lorenz96,
    OnDask,
    TwoScaleLorenz96,
    UserModel,
    WithModelError,
    from_spec,
    require,
    seeded,
)
from scoreda.observations import EveryNth, GaussianError, Network

SIZE = 40
MODEL = Lorenz96(SIZE)
RELAXED = UserModel(lambda E: 0.9 * E + np.sin(np.roll(E, 1, axis=1)), SIZE, dt=0.05)


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(3) as executor:
        yield executor


@pytest.fixture
def client():
    """Two workers in threads of this process."""
    distributed = pytest.importorskip("distributed")
    own = dict(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0")
    with distributed.LocalCluster(**own) as cluster, distributed.Client(cluster) as client:
        yield client


def make_twin(cycles=4):
    return simulate(MODEL, Network(EveryNth(SIZE, 2), GaussianError(1.0, SIZE // 2), 0.1), cycles, seed=1, spinup=5.0)


def run(model, members=5, method=lambda model: LETKF(model, 4.0, inflation=1.05, rotate=True)):
    """Return the ensembles of a whole assimilation."""
    twin = make_twin()
    E = initial_ensemble(twin, members, rng=np.random.default_rng(2))
    done = assimilate(twin, method(model), E, np.random.default_rng(3))
    assert np.isfinite(done["analysis"]).all()
    return done


class Counting(ThreadPoolExecutor):
    """An executor that counts the members of every group it is given."""

    def map(self, function, groups, steps):
        self.sizes = [len(group) for group in groups]
        return super().map(function, groups, steps)


@pytest.mark.parametrize(
    ("members", "groups", "sizes"), [(7, 3, [3, 2, 2]), (2, 5, [1, 1]), (1, 1, [1]), (40, 1, [40]), (6, 6, [1] * 6)]
)
def test_that_members_are_dealt_out_evenly_and_keep_their_order(members, groups, sizes):
    E = np.random.default_rng(4).normal(3.0, 3.0, (members, SIZE))
    with Counting(2) as executor:
        forecast = OnDask(MODEL, executor, groups).step(E, 6)
    assert executor.sizes == sizes
    np.testing.assert_array_equal(forecast, MODEL.step(E, 6))


@pytest.mark.parametrize("name", MODELS)
def test_that_every_model_keeps_its_bits_in_any_groups(name, threads):
    model = MODELS[name]()
    E = model.random_states(9, np.random.default_rng(5))
    for groups in (2, 4, 9):
        np.testing.assert_array_equal(OnDask(model, threads, groups).step(E, 2), model.step(E, 2))


@pytest.mark.parametrize("model", [MODEL, RELAXED], ids=lambda model: model.name)
@pytest.mark.parametrize("groups", [None, 1, 3, 20])
def test_that_an_assimilation_keeps_its_bits(model, groups, threads):
    assert run(OnDask(model, threads, groups)).equals(run(model))


@pytest.mark.parametrize("members", [2, 7])
def test_that_an_assimilation_on_the_client_that_is_open_keeps_its_bits(members, client):
    for model in (MODEL, RELAXED):
        assert run(OnDask(model), members).equals(run(model, members))


def test_that_one_cluster_serves_forecasts_and_analyses_in_blocks(client):
    coupled = lambda model: CoupledScoreFilter(model, 1.0, inflation=1.05)
    blocks = lambda model: Decomposed(coupled(model), blocks=2)
    assert run(OnDask(MODEL, client), method=blocks).equals(run(MODEL, method=blocks))


def test_that_errors_are_drawn_outside_and_do_not_depend_on_the_groups(threads):
    noisy = [WithModelError(model, AdditiveError(0.5)) for model in (MODEL, OnDask(MODEL, threads, 3))]
    E = MODEL.random_states(5, np.random.default_rng(6))
    ends = [seeded(model, np.random.default_rng(7)).step(E, 4) for model in noisy]
    np.testing.assert_array_equal(*ends)
    assert run(noisy[1]).equals(run(noisy[0]))


def test_that_random_models_are_refused_with_the_way_out(threads):
    with pytest.raises(ValueError, match=r"Put the errors outside: WithModelError\(OnDask\(model\), error\)"):
        OnDask(WithModelError(MODEL, AdditiveError(0.5)), threads)


def test_that_derivatives_are_those_the_model_offers(threads):
    x = MODEL.random_states(3, np.random.default_rng(8))
    on_dask = OnDask(MODEL, threads)
    for ours, plain in zip(on_dask.tangent(x[0], x, 3), MODEL.tangent(x[0], x, 3), strict=True):
        np.testing.assert_array_equal(ours, plain)
    np.testing.assert_array_equal(on_dask.adjoint(x[0], x, 3), MODEL.adjoint(x[0], x, 3))
    climate = climatology(MODEL, np.random.default_rng(9), samples=100)
    variational = lambda model: FourDVar(model, climate)
    assert run(on_dask, method=variational).equals(run(MODEL, method=variational))
    with pytest.raises(ValueError, match="needs a model that offers 'tangent'; user offers: none"):
        require(OnDask(RELAXED, threads), "tangent", method="FourDVar")
    assert "truncation" not in OnDask(TwoScaleLorenz96(), threads).offers


def test_that_it_is_the_plain_model_in_files_and_elsewhere(tmp_path, threads):
    on_dask, twin, path = OnDask(MODEL, threads), make_twin(), tmp_path / "checkpoint.nc"
    assert from_spec(on_dask.spec()).spec() == MODEL.spec()
    assert type(pickle.loads(pickle.dumps(on_dask))) is Lorenz96
    E = initial_ensemble(twin, 5, rng=np.random.default_rng(2))
    assimilate(twin, LETKF(on_dask, 4.0), E, np.random.default_rng(3), cycles=2, checkpoint=path)
    ends = [resume(path, twin, LETKF(model, 4.0))["analysis"] for model in (MODEL, on_dask)]
    assert ends[0].equals(ends[1])


def test_that_what_a_worker_complains_about_is_heard(client):
    with pytest.raises(ValueError, match=r"returned shape \(1, 2\) for \(1, 3\)"):
        OnDask(UserModel(lambda E: E[:, :2], 3), client).step(np.ones((2, 3)))


def test_that_what_is_no_client_is_refused_with_the_fix(threads, monkeypatch):
    with pytest.raises(ValueError, match="must be a Dask client or an executor of concurrent.futures, got str"):
        OnDask(MODEL, "tcp://host:8786")
    with pytest.raises(ValueError, match="`groups` must be at least 1, got 0"):
        OnDask(MODEL, threads, groups=0)
    with pytest.raises(ValueError, match=r"must have shape \(members, 40\), got \(2, 3\)"):
        OnDask(MODEL, threads).step(np.ones((2, 3)))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ScoredaError, match=r"pip install 'dask\[distributed\]'"):
        OnDask(MODEL)


def test_that_a_client_that_is_not_open_is_asked_for():
    pytest.importorskip("distributed")
    with pytest.raises(ScoredaError, match=r"Open one, `distributed.Client\(\)`, or pass client="):
        OnDask(MODEL)


@pytest.mark.slow
def test_that_processes_of_a_cluster_keep_the_bits():
    distributed = pytest.importorskip("distributed")
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    own = dict(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with distributed.LocalCluster(**own) as cluster, distributed.Client(cluster):
        for model in (MODEL, RELAXED):
            assert run(OnDask(model)).equals(run(model))
            blocks = lambda model: Decomposed(LETKF(model, 4.0, rotate=True), blocks=2)
            assert run(OnDask(model), method=blocks).equals(run(model, method=blocks))
