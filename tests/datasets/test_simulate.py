"""Twin experiments: the truth is the model's, the errors are the network's, and bad files are refused."""

import numpy as np
import pytest
import xarray as xr

from scoreda.datasets import (
    model_of,
    observations,
    open_dataset,
    simulate,
    simulate_to,
    truth_model_of,
    twin_dataset,
    write_dataset,
)
from scoreda.datasets.batches import Batches
from scoreda.errors import ScoredaError
from scoreda.models import (
    AdditiveError,
    Lorenz96,
    Shocks,
    TruncatedLorenz96,
    TwoScaleLorenz96,
    UserModel,
    WithModelError,
)
from scoreda.observations import (
    CorrelatedGaussianError,
    Elementwise,
    EveryNth,
    GaussianError,
    Identity,
    LaplaceError,
    MovingSites,
    Network,
    StudentTError,
    UserOperator,
)


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


@pytest.mark.parametrize("error", [StudentTError(0.5, 4), LaplaceError(0.5, 4), CorrelatedGaussianError(np.eye(4) + 1)])
def test_that_a_file_gives_back_errors_that_are_not_gaussian_or_not_independent(tmp_path, error):
    network = Network(EveryNth(8, 2), error, 0.1)
    write_dataset(simulate(Lorenz96(8), network, 3, seed=0), tmp_path / "twin.nc")
    with open_dataset(tmp_path / "twin.nc") as twin:
        found = next(observations(twin)).error
    assert found.spec() == error.spec()
    np.testing.assert_array_equal(found.sample(np.random.default_rng(1)), error.sample(np.random.default_rng(1)))


def test_that_methods_may_be_given_another_model_than_that_of_the_truth(tmp_path):
    wrong = Lorenz96(8, forcing=7.0, dt=0.1)
    write_dataset(simulate(Lorenz96(8), make_network(), 10, 3, assimilation_model=wrong), tmp_path / "twin.nc")
    with open_dataset(tmp_path / "twin.nc") as twin:
        assert (model_of(twin).spec(), truth_model_of(twin).spec()) == (wrong.spec(), Lorenz96(8).spec())
        np.testing.assert_array_equal(twin["truth"], make_twin()["truth"])
    assert truth_model_of(make_twin()).spec() == Lorenz96(8).spec()


def test_that_a_truncated_model_sees_the_resolved_part_of_the_truth():
    full, carried = TwoScaleLorenz96(4, 3), TruncatedLorenz96(4)
    network = Network(Identity(4), GaussianError(0.1, 4), 0.05)
    whole = simulate(full, Network(EveryNth(16, 2), GaussianError(1.0, 8), 0.05), 5, seed=1, spinup=1.0)
    part = simulate(full, network, 5, seed=1, spinup=1.0, assimilation_model=carried)
    np.testing.assert_array_equal(part["truth"], whole["truth"].values[:, :4])
    np.testing.assert_array_equal(part["truth_initial"], whole["truth_initial"].values[:4])
    assert part["obs"].shape == (5, 4)


def test_that_only_a_truth_with_resolved_variables_may_be_larger_than_the_other_model():
    with pytest.raises(ValueError, match="has 8 variables, but lorenz96 has 16"):
        simulate(Lorenz96(16), make_network(), 5, 0, assimilation_model=Lorenz96(8))


@pytest.mark.parametrize("error", [AdditiveError(0.5), Shocks([1.0], [0.01])])
def test_that_the_errors_of_a_random_truth_come_from_the_seed_of_the_twin(error):
    model, network = WithModelError(Lorenz96(8), error), make_network()
    first, again, other = (simulate(model, network, 20, seed, assimilation_model=Lorenz96(8)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first["truth"], again["truth"])
    assert not np.isclose(first["truth"], other["truth"]).any()
    last, end = first["truth"].values[-2:]
    assert np.abs(Lorenz96(8).step(last[None], 2)[0] - end).max() > 1e-3
    assert truth_model_of(first).spec() == model.spec()


def test_that_times_may_be_irregular():
    times = [0.05, 0.2, 0.25, 0.6]
    twin = simulate(Lorenz96(8), Network(Identity(8), GaussianError(1.0, 8), times=times), 3, seed=3)
    x = twin["truth_initial"].values[None]
    for k, steps in enumerate([1, 3, 1]):
        x = Lorenz96(8).step(x, steps)
        np.testing.assert_array_equal(twin["truth"].values[k], x[0])
    assert [obs.time for obs in observations(twin)] == times[:3]
    assert "interval" not in twin.attrs["scoreda_config"]


def test_that_sites_that_move_are_the_same_ones_when_the_twin_is_cut_or_read_back(tmp_path):
    network = Network(MovingSites(8, 3, seed=9), GaussianError(1e-12, 3), 0.1)
    twin = simulate(Lorenz96(8), network, 12, seed=0)
    sites = twin["obs_location"].values.astype(int)
    assert len({tuple(row) for row in sites}) > 6
    np.testing.assert_allclose(twin["obs"], np.take_along_axis(twin["truth"].values, sites, axis=1), atol=1e-4)
    write_dataset(twin.isel(time=slice(5, None)), tmp_path / "part.nc")
    with open_dataset(tmp_path / "part.nc") as part:
        np.testing.assert_array_equal([obs.operator.sites for obs in observations(part)], sites[5:])


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
        (
            {"network": Network(Identity(8), GaussianError(1.0, 8), times=[0.1, 0.32]), "cycles": 2},
            "0.22 is not a whole",
        ),
        ({"network": Network(Identity(8), GaussianError(1.0, 8), times=[0.1, 0.3])}, "`cycles` is 5, but the network"),
        ({"assimilation_model": Lorenz96(8, dt=0.03)}, "not a whole number of model steps of 0.03"),
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
        (lambda twin: twin.assign_coords(obs=twin["obs"].astype(str)), "`obs` must hold numbers, got <U"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_that_a_bad_file_of_the_user_is_refused_before_the_first_observation(spoil, message):
    with pytest.raises(ScoredaError, match=message):
        observations(spoil(make_twin()))


# Twins that are written, and observations that are read, some times at a time.

NOISY = WithModelError(Lorenz96(8), AdditiveError(0.1 * np.eye(8)))
STREAMED = {
    "plain": (Lorenz96(8), make_network(), {}),
    "gaps": (Lorenz96(8), make_network(), {"missing": 0.4}),
    "random model": (NOISY, make_network(), {}),
    "two scales": (
        TwoScaleLorenz96(4, 3, dt=0.005),
        Network(Identity(4), GaussianError(1.0, 4), 0.1),
        {"assimilation_model": TruncatedLorenz96(4)},
    ),
    "moving sites": (Lorenz96(8), Network(MovingSites(8, 3, seed=1), StudentTError(1.0, 3), 0.1), {}),
    "irregular times": (
        Lorenz96(8),
        Network(Identity(8), GaussianError(1.0, 8), times=list(0.05 * np.cumsum(1 + np.arange(30) % 3))),
        {},
    ),
}


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("values", [1, 50, 10**6])
def test_that_a_twin_written_in_parts_is_the_twin_to_the_bit(tmp_path, monkeypatch, name, values):
    monkeypatch.setattr("scoreda.datasets.rows.PART_VALUES", values)
    model, network, settings = STREAMED[name]
    whole = simulate(model, network, 30, 3, **settings)
    simulate_to(tmp_path / "t.nc", model, network, 30, 3, **settings)
    write_dataset(whole, tmp_path / "w.nc")
    with open_dataset(tmp_path / "t.nc") as parts, open_dataset(tmp_path / "w.nc") as ds:
        assert parts.attrs.pop("history")[20:] == ds.attrs.pop("history")[20:]
        xr.testing.assert_identical(parts.load(), ds.load())
        assert {name: parts[name].dtype for name in parts.variables} == {name: ds[name].dtype for name in ds.variables}


@pytest.mark.parametrize("values", [1, 50, 10**6])
def test_that_observations_of_a_file_read_in_parts_are_the_observations(tmp_path, monkeypatch, values):
    twin = simulate(Lorenz96(8), make_network(), 30, 3, missing=0.2)
    whole = list(observations(twin))
    monkeypatch.setattr("scoreda.datasets.rows.PART_VALUES", values)
    write_dataset(twin, tmp_path / "t.nc")
    with open_dataset(tmp_path / "t.nc") as file:
        parts, later = list(observations(file)), list(Batches(file).between(11, 17))
    assert [obs.time for obs in parts] == [obs.time for obs in whole]
    np.testing.assert_array_equal([obs.values for obs in parts], [obs.values for obs in whole])
    np.testing.assert_array_equal([obs.values for obs in later], [obs.values for obs in whole[11:17]])


def test_that_a_model_that_blows_up_late_leaves_no_file_and_tells_the_cycle(tmp_path, monkeypatch):
    monkeypatch.setattr("scoreda.datasets.rows.PART_VALUES", 40)
    growing = UserModel(lambda E: 1e100 * (1 + E**2), 4, random_states=lambda n, rng: np.zeros((n, 4)))
    network = Network(Identity(4), GaussianError(1.0, 4), 1.0)
    with pytest.raises(ScoredaError, match=r"cycle: NaN or Inf at index"), np.errstate(over="ignore"):
        simulate_to(tmp_path / "t.nc", growing, network, 20, 1, spinup=0.0)
    assert not list(tmp_path.iterdir())
