"""States and generators come back from files to the bit."""

import numpy as np
import pytest

from scoreda.assimilation import State, load_state, save_state
from scoreda.errors import ScoredaError
from scoreda.observations import (
    CorrelatedGaussianError,
    Elementwise,
    GaussianError,
    Identity,
    Observation,
    Sites,
    StudentTError,
    UserOperator,
)

RNG = np.random.default_rng
BITS = (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
MEMORY = {
    "double": RNG(0).normal(size=(3, 2)),
    "half precision": RNG(1).normal(size=4).astype(np.float16),
    "complex/spectrum": RNG(2).normal(size=(2, 2)) * 1j,
    "a flag": np.array(True),
    "counts": np.array([2**63 - 1, -5]),
    "unsigned": np.array([2**64 - 1], dtype=np.uint64),
    "names": np.array(["one", "zwei", "三"]),
    "dates": np.array(["2001-03-01", "NaT"], dtype="datetime64[ns]"),
    "special": np.array([np.nan, np.inf, -0.0]),
    "nothing": np.zeros((0, 5), dtype=np.float32),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


def restored(tmp_path, state, rng=None, **settings):
    save_state(tmp_path / "state.nc", state, rng or RNG(0))
    return load_state(tmp_path / "state.nc", **settings)


def past():
    """Observations of several sizes, with a gap, two of them of the same operator."""
    arctan = Elementwise(Sites(6, [5, 0]), "arctan")
    return (
        Observation(0.1, np.array([0.5, np.nan]), arctan, GaussianError([0.1, 0.2], 2)),
        Observation(0.2, RNG(3).normal(size=6), Identity(6), GaussianError(1.5, 6)),
        Observation(0.1 + 0.2, np.array([-0.5, 0.25]), arctan, GaussianError([0.3, 0.4], 2)),
    )


@pytest.mark.filterwarnings("error")
def test_that_ensemble_and_time_come_back_to_the_bit(tmp_path):
    state, _ = restored(tmp_path, State(0.1 + 0.2, RNG(0).normal(size=(4, 6))))
    assert state.time == 0.1 + 0.2
    assert (state.memory, state.past) == ({}, ())
    np.testing.assert_array_equal(state.ensemble, RNG(0).normal(size=(4, 6)))
    assert state.ensemble.dtype == np.float64


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", MEMORY)
def test_that_memory_of_any_name_dtype_and_shape_comes_back_to_the_bit(tmp_path, name):
    array = restored(tmp_path, State(0.0, np.zeros((2, 3)), {name: MEMORY[name]}))[0].memory[name]
    assert (array.dtype, array.shape) == (MEMORY[name].dtype, MEMORY[name].shape)
    assert array.tobytes() == MEMORY[name].tobytes()
    assert array.flags.writeable


@pytest.mark.parametrize("error", [StudentTError([0.1, 0.2], 2, df=4.0), CorrelatedGaussianError(np.eye(2) + 1 / 3)])
def test_that_errors_of_the_past_are_of_the_kind_they_were(tmp_path, error):
    obs = Observation(0.1, np.array([0.5, 1.5]), Identity(2), error)
    (again,) = restored(tmp_path, State(0.1, np.zeros((2, 2)), past=(obs,)))[0].past
    assert again.error.spec() == error.spec()


def test_that_the_order_of_the_memory_is_kept(tmp_path):
    memory = {f"part {k}": np.full(k, float(k)) for k in range(12)}
    again = restored(tmp_path, State(0.0, np.zeros((2, 3)), memory))[0].memory
    assert list(again) == list(memory)
    assert [array.size for array in again.values()] == list(range(12))


@pytest.mark.filterwarnings("error")
def test_that_past_observations_come_back_with_operator_and_error(tmp_path):
    again = restored(tmp_path, State(0.3, np.zeros((2, 6)), past=past()))[0].past
    x = RNG(4).normal(size=6)
    for obs, kept in zip(past(), again, strict=True):
        assert obs.time == kept.time
        np.testing.assert_array_equal(obs.values, kept.values)
        np.testing.assert_array_equal(obs.error.variance, kept.error.variance)
        np.testing.assert_array_equal(obs.operator(x), kept.operator(x))


def test_that_an_operator_of_the_user_must_be_passed_again(tmp_path):
    operator = UserOperator(lambda E: E[..., :2], 6, 2)
    obs = Observation(0.1, np.zeros(2), operator, GaussianError(1.0, 2))
    state = State(0.1, np.zeros((2, 6)), past=(obs,))
    assert restored(tmp_path, state, operator=operator)[0].past[0].operator is operator
    with pytest.raises(ScoredaError, match="Pass operator="):
        restored(tmp_path, state)


def test_that_an_operator_of_the_user_is_restricted_again_where_values_were_missing(tmp_path):
    operator = UserOperator(lambda E: E[..., :4] ** 2, 6, 4)
    values = [np.array([1.0, np.nan, 3.0, 4.0]), np.arange(4.0), np.array([np.nan, 1.0, np.nan, 2.0])]
    past = [Observation(0.1 * k, y, operator, GaussianError([0.1, 0.2, 0.3, 0.4], 4)) for k, y in enumerate(values)]
    past = (*(obs.present() for obs in past), past[2])
    once = restored(tmp_path, State(0.3, np.zeros((2, 6)), past=past), operator=operator)[0]
    twice = restored(tmp_path, once, operator=operator)[0]
    x = RNG(4).normal(size=(3, 6))
    for obs, *again in zip(past, once.past, twice.past, strict=True):
        for kept in again:
            np.testing.assert_array_equal(obs.values, kept.values)
            np.testing.assert_array_equal(obs.operator(x), kept.operator(x))
            np.testing.assert_array_equal(obs.error.variance, kept.error.variance)


@pytest.mark.parametrize("bits", BITS)
def test_that_the_generator_goes_on_where_it_was(tmp_path, bits):
    rng = np.random.Generator(bits(np.random.SeedSequence(5, spawn_key=(1, 2))))
    rng.normal(size=3), rng.integers(9, dtype=np.int32), rng.spawn(2)
    again = restored(tmp_path, State(0.0, np.zeros((2, 3))), rng)[1]
    np.testing.assert_array_equal(
        again.integers(2**30, size=9, dtype=np.int32), rng.integers(2**30, size=9, dtype=np.int32)
    )
    np.testing.assert_array_equal(again.normal(size=9), rng.normal(size=9))
    assert again.spawn(1)[0].normal() == rng.spawn(1)[0].normal()


def test_that_python_objects_in_the_memory_are_refused_and_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="the memory 'list' holds Python objects"):
        restored(tmp_path, State(0.0, np.zeros((2, 3)), {"list": np.array([{}, None])}))
    assert list(tmp_path.iterdir()) == []


def test_that_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "state.nc").write_bytes(b"pickled?")
    with pytest.raises(ScoredaError, match="as netCDF"):
        load_state(tmp_path / "state.nc")
