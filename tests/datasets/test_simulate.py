"""Twin experiments: the truth is the model's, the errors are the network's, and bad files are refused."""

import numpy as np
import pytest

from scoreda.datasets import model_of, observations, open_dataset, simulate, twin_dataset, write_dataset
from scoreda.errors import ScoredaError
from scoreda.models import Lorenz96, UserModel
from scoreda.observations import Elementwise, EveryNth, GaussianError, Identity, Network, UserOperator


def make_network(size=8, variance=0.25, interval=0.1):
    return Network(Elementwise(EveryNth(size, 2), "arctan"), GaussianError(variance, size // 2), interval)


def make_twin(cycles=10, seed=3, **settings):
    return simulate(Lorenz96(8), make_network(**settings), cycles, seed)


def test_that_the_truth_is_the_trajectory_of_the_model():
    twin = make_twin()
    x = twin["truth_initial"].values[None]
    for k in range(10):
        x = Lorenz96(8).step(x, 2)
        np.testing.assert_array_equal(twin["truth"].values[k], x[0])
    np.testing.assert_allclose(twin["time"], 0.1 * np.arange(1, 11))


def test_that_observations_are_the_operator_plus_errors_of_the_network():
    twin = make_twin(cycles=4000)
    errors = twin["obs"].values - make_network().operator(twin["truth"].values)
    np.testing.assert_allclose(errors.var(axis=0), 0.25, rtol=0.1)
    np.testing.assert_allclose(np.corrcoef(errors.T), np.eye(4), atol=0.06)
    np.testing.assert_allclose(np.corrcoef(errors[1:, 0], errors[:-1, 0]), np.eye(2), atol=0.06)


def test_that_a_seed_gives_the_same_twin_and_another_seed_another():
    np.testing.assert_array_equal(make_twin()["obs"], make_twin()["obs"])
    assert not np.isclose(make_twin(seed=4)["truth"], make_twin()["truth"]).any()


def test_that_the_errors_do_not_change_the_truth():
    np.testing.assert_array_equal(make_twin(variance=9.0)["truth"], make_twin()["truth"])


def test_that_gaps_are_as_frequent_as_asked_and_change_nothing_else():
    whole, holed = (simulate(Lorenz96(8), make_network(), 500, 3, missing=missing)["obs"] for missing in (0.0, 0.3))
    gaps = np.isnan(holed.values)
    assert gaps.mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(holed.values[~gaps], whole.values[~gaps])


@pytest.mark.parametrize("variance", [0.25, [0.1, 0.2, 0.3, 0.4]])
def test_that_a_file_gives_back_observations_and_model(tmp_path, variance):
    write_dataset(make_twin(variance=variance), tmp_path / "twin.nc")
    with open_dataset(tmp_path / "twin.nc") as twin:
        batches = list(observations(twin))
        assert model_of(twin).spec() == Lorenz96(8).spec()
    assert [obs.time for obs in batches] == pytest.approx(0.1 * np.arange(1, 11))
    np.testing.assert_array_equal([obs.values for obs in batches], make_twin(variance=variance)["obs"])
    assert batches[0].operator.spec() == make_network().operator.spec()
    np.testing.assert_array_equal(batches[0].error.variance, np.broadcast_to(variance, 4))


def test_that_an_operator_and_an_error_of_the_user_take_the_place_of_the_file_s():
    operator = UserOperator(lambda E: E[..., :4], 8, 4)
    obs = next(observations(make_twin(), operator, GaussianError(2.0, 4)))
    assert obs.operator is operator
    np.testing.assert_array_equal(obs.error.variance, 2.0)


def test_that_callables_of_the_user_must_be_passed_again():
    model = UserModel(lambda E: 0.9 * E, 3, random_states=lambda members, rng: rng.normal(size=(members, 3)))
    network = Network(UserOperator(lambda E: E[..., :2], 3, 2), GaussianError(1.0, 2), 1.0)
    twin = simulate(model, network, 5, seed=0)
    assert next(observations(twin, network.operator)).operator is network.operator
    with pytest.raises(ScoredaError, match="Pass operator="):
        observations(twin)
    with pytest.raises(ScoredaError, match="Pass model="):
        model_of(twin)


def test_that_observations_without_a_truth_are_a_dataset_too():
    network = Network(Identity(3), GaussianError(1.0, 3), 0.05)
    twin = twin_dataset(Lorenz96(4), network, np.array([0.05, 0.15]), np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0]]))
    assert "truth" not in twin
    np.testing.assert_array_equal([obs.values for obs in observations(twin)], twin["obs"])


def test_that_a_model_that_blows_up_is_named_with_the_cycle():
    def explode(E):
        return np.where(E < 100, 3 * E, np.inf)

    model = UserModel(explode, 2, random_states=lambda members, rng: np.ones((members, 2)))
    with pytest.raises(ScoredaError, match="the model user, cycle: NaN or Inf at index 5"):
        simulate(model, Network(Identity(2), GaussianError(1.0, 2), 1.0), 10, seed=0, spinup=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": make_network(interval=0.12)}, "0.12 is not a whole number of model steps of 0.05. Use 0.1"),
        ({"network": make_network(interval=0.01)}, "not a whole number of model steps.*Use 0.05"),
        ({"network": make_network(size=6)}, "the operator takes 6 variables, the model has 8"),
        ({"cycles": 0}, "need `cycles` >= 1"),
        ({"missing": 1.0}, "`missing` < 1"),
    ],
)
def test_that_a_senseless_request_is_refused(change, message):
    request = {"model": Lorenz96(8), "network": make_network(), "cycles": 5, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        simulate(**request)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda twin: twin.drop_vars("obs"), "no variable 'obs'"),
        (lambda twin: twin.isel(obs=[0, 1]), "`obs` has 2 values per time, the operator 4"),
        (lambda twin: twin.assign_coords(obs=twin["obs"] * np.nan), "nothing but NaN"),
        (lambda twin: twin.assign_coords(obs=twin["obs"] / 0), "infinite values"),
        (lambda twin: twin.transpose("obs", ...), r"must have dims \(time, obs\)"),
        (lambda twin: twin.isel(time=slice(None, None, -1)), "`time` must increase"),
        (lambda twin: twin.drop_vars("time"), "no `time` coordinate"),
        (lambda twin: twin.drop_attrs(deep=False), "no attribute 'operator'"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_that_a_bad_file_of_the_user_is_refused_before_the_first_observation(spoil, message):
    with pytest.raises(ScoredaError, match=message):
        observations(spoil(make_twin()))
