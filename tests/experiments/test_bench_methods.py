from typing import get_args

import numpy as np
import pytest

from scoreda.assimilation import initial_ensemble
from scoreda.datasets import climatology, observations, open_dataset
from scoreda.experiments.config import Experiment, load_config
from scoreda.experiments.folder import RunFolder
from scoreda.experiments.method_settings import Parts
from scoreda.experiments.methods import MethodSection
from scoreda.experiments.shipped import shipped_configs
from scoreda.experiments.twins import make_twins, twin_of_seed

BENCH = {name: path for name, path in shipped_configs().items() if path.parent.name == "bench"}
MOST = 12  # members: enough for a step, where the benchmark has up to thousands


def loaded(name, *overrides):
    return load_config(Experiment, BENCH[name], overrides)


def short(name):
    """Return an experiment of the benchmark with a single cycle."""
    cases = loaded(name).cases
    return loaded(name, *(f"cases.{case}.{change}" for case in cases for change in ("cycles=1", "burn_in=0")))


@pytest.mark.parametrize("name", BENCH)
def test_that_every_method_of_the_benchmark_takes_its_case(name):
    config, rng = short(name), np.random.default_rng(1)
    for case_name, case in config.cases.items():
        twin, model = twin_of_seed(config, case_name, config.seeds[0]), case.model.build()
        climate = climatology(model, rng, samples=50)
        (obs,) = observations(twin, error=case.observations.assumed_error(twin.sizes["obs"]))
        for settings in case.methods.values():
            method = settings.build(Parts(model, lambda climate=climate: climate, prior=None))
            members = min(settings.members or case.members, MOST)
            state = method.init(initial_ensemble(twin, members, std=0.1, rng=rng))
            state, _ = method.step(state, obs, rng)
            assert np.isfinite(state.ensemble).all(), (case_name, method.name)


def test_that_every_baseline_has_a_case_of_the_benchmark():
    cases = [case for name in BENCH for case in loaded(name).cases.values()]
    named = {settings.kind for case in cases for settings in case.methods.values()}
    assert set(kinds()) - {"free_run", "enks", "coupled_score_filter", "score4d"} <= named


def kinds():
    """Return the kind of every method that a configuration can name."""
    union, _ = get_args(MethodSection)
    return [get_args(settings.model_fields["kind"].annotation)[0] for settings in get_args(union)]


def test_that_the_twin_of_a_seed_is_the_one_that_is_written(tmp_path):
    config = short("sakov2008")
    folder = RunFolder(tmp_path / "run")
    make_twins(config, folder)
    with open_dataset(folder.twin("sakov2008", 3)) as written:
        made = twin_of_seed(config, "sakov2008", 3)
        for name in ("truth", "obs", "truth_initial"):
            np.testing.assert_array_equal(written[name], made[name])


def test_that_a_longer_twin_begins_as_the_shorter_one():
    one, longer = twin_of_seed(short("abs"), "abs", 1), twin_of_seed(loaded("abs", "cases.abs.cycles=501"), "abs", 1)
    for name in ("truth", "obs"):
        np.testing.assert_array_equal(longer[name][:1], one[name])
