import inspect
import typing
from dataclasses import asdict, replace

import pytest
import yaml
from pydantic import TypeAdapter

from scoreda.diffusion import EDM, ConvNet1d, TrainSettings
from scoreda.errors import ScoredaError
from scoreda.experiments import config as sections
from scoreda.experiments.config import Experiment, Training, load_any, load_config, resolved
from scoreda.experiments.method_settings import Parts, Settings
from scoreda.experiments.methods import MethodSection
from scoreda.experiments.shipped import find_config, shipped_configs
from scoreda.experiments.yaml_source import dump
from scoreda.models import AdditiveError, Lorenz96, WithModelError

GOOD = """\
name: small
cases:
  one:
    model: {size: 8, dt: 0.05}
    observations: {interval: 0.1, obs_std: 0.5}
    cycles: 10
    methods:
      letkf: {kind: letkf, radius: 2}
"""
METHODS = typing.get_args(typing.get_args(MethodSection)[0])


@pytest.fixture
def write(tmp_path):
    """Write a configuration and return its path; pairs of old and new text are replaced in GOOD."""

    def write(*changes, text=GOOD):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def complaints(path, kind=Experiment, overrides=()):
    with pytest.raises(ScoredaError) as error:
        load_config(kind, path, overrides)
    return str(error.value).replace(str(path), "c.yaml").split("\n")


def test_that_all_mistakes_are_reported_at_once_in_the_order_of_the_file(write):
    path = write(
        ("name: small", "name: small\nseed: 1"),
        ("size: 8", "size: eight, forcng: 8"),
        ("cycles: 10", "cycles: 0\n    members: 1"),
        ("kind: letkf", "kind: letfk"),
    )
    assert complaints(path) == [
        "c.yaml:2: seed: unknown key; did you mean 'seeds'?",
        "c.yaml:5: cases.one.model.forcng: unknown key; did you mean 'forcing'?",
        "c.yaml:5: cases.one.model.size: must be a valid integer, got 'eight'",
        "c.yaml:7: cases.one.cycles: must be greater than or equal to 1, got 0",
        "c.yaml:8: cases.one.members: must be greater than or equal to 2, got 1",
        "c.yaml:10: cases.one.methods.letkf.kind: unknown value 'letfk'; did you mean 'letkf'?",
    ]


def test_that_keys_that_do_not_fit_together_are_reported_beside_keys_that_are_wrong_alone(write):
    path = write(
        ("obs_std: 0.5", "obs_std: 0.5, operator: sites, sites: [9], missing: 2"),
        ("cycles: 10", "cycles: 10\n    members: 1\n    burn_in: 12"),
        ("kind: letkf, radius: 2", "kind: letkf"),
    )
    assert complaints(path) == [
        "c.yaml:5: cases.one.observations.missing: must be less than 1, got 2",
        "c.yaml:7: cases.one.members: must be greater than or equal to 2, got 1",
        "c.yaml:8: cases.one.burn_in: must be smaller than cycles = 10, got 12",
        "c.yaml:10: cases.one.methods.letkf.radius: is missing; add it",
    ]
    path = write(("missing: 2", "missing: 0"), text=path.read_text())
    assert "c.yaml:5: cases.one.observations.sites: site 9 is out of range" in complaints(path)[0]


def test_that_checks_of_keys_that_are_wrong_themselves_are_left_out(write):
    path = write(("obs_std: 0.5", "obs_std: -1"), ("cycles: 10", "cycles: 0\n    burn_in: 12"))
    assert complaints(path) == [
        "c.yaml:5: cases.one.observations.obs_std: must be greater than 0, got -1",
        "c.yaml:6: cases.one.cycles: must be greater than or equal to 1, got 0",
    ]


def test_that_a_training_configuration_reports_all_mistakes_at_once_too(write):
    text = TRAINING + "window: {frames: 9}\nnetwork: {kernel: 4}\ntrain: {step: 4}\n"
    assert [line.split(": ")[1] for line in complaints(write(text=text), Training)] == [
        "window.frames", "network.kernel", "train.step",
    ]  # fmt: skip


def test_that_a_seed_given_twice_is_refused(write):
    (line,) = complaints(write(("name: small", "name: small\nseeds: [3, 1, 3]")))
    assert line.startswith("c.yaml:2: seeds: must differ, but [3] are given more than once")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("size: 8", "forcing: .nan", "c.yaml:4: cases.one.model.forcing: must be a finite number, got nan"),
        ("size: 8", "size: true", "c.yaml:4: cases.one.model.size: must be a valid integer, got True"),
        ("interval: 0.1", "interval: 0.12", "c.yaml:5: cases.one.observations.interval: must be a whole number"),
        ("obs_std: 0.5", "obs_std: -1", "c.yaml:5: cases.one.observations.obs_std: must be greater than 0, got -1"),
        ("obs_std: 0.5", "obs_variance: 0", "c.yaml:5: cases.one.observations.obs_variance: must be greater than 0"),
        ("obs_std: 0.5", "noise: 1, obs_std: 1", "c.yaml:5: cases.one.observations.noise: unknown key; a bare noise"),
        ("obs_std: 0.5", "missing: 0", "c.yaml:5: cases.one.observations: give exactly one of obs_std"),
        ("obs_std: 0.5", "obs_std: 1, obs_variance: 1", "c.yaml:5: cases.one.observations.obs_variance: give exactly"),
        (
            "obs_std: 0.5",
            "obs_std: 1, operator: sites",
            "c.yaml:5: cases.one.observations.operator: `sites` needs `sites`",
        ),
        ("obs_std: 0.5", "obs_std: 1, step: 2", "c.yaml:5: cases.one.observations.step: goes with `operator: every`"),
        (
            "obs_std: 0.5",
            "obs_std: 1, operator: sites, sites: [3, 8]",
            "c.yaml:5: cases.one.observations.sites: site 8 is out of range: the state has 8 variables, 0 to 7.",
        ),
        ("cycles: 10", "burn_in: 3", "c.yaml:3: cases.one.cycles: is missing; add the number"),
        ("cycles: 10", "cycles: 10\n    burn_in: 10", "c.yaml:7: cases.one.burn_in: must be smaller than cycles = 10"),
        ("letkf: {", "l/k: {", "c.yaml:8: cases.one.methods.l/k: becomes a folder"),
        ("kind: letkf, ", "", "c.yaml:8: cases.one.methods.letkf: `kind` is missing"),
        ("radius: 2", "inflaton: 1, radius: 2", "c.yaml:8: cases.one.methods.letkf.inflaton: unknown key; did you"),
        (", radius: 2", "", "c.yaml:8: cases.one.methods.letkf.radius: is missing; add it"),
    ],
)
def test_that_a_mistake_is_named_with_file_line_key_and_the_fix(write, old, new, expected):
    first, *others = complaints(write((old, new)))
    assert first.startswith(expected)
    assert not others


LETKF = "c.yaml:8: cases.one.methods.letkf"


@pytest.mark.parametrize(
    ("tune", "expected"),
    [
        ("tune: {radius: 2}", [f"{LETKF}.tune.radius: must be a list, got 2; write [2]"]),
        ("tune: {radius: [2], rotate: true}", [f"{LETKF}.tune.rotate: must be a list, got True; write [true]"]),
        (
            "tune: {radus: [2]}",
            [
                f"{LETKF}.radius: is missing; add it",
                f"{LETKF}.tune.radus: is no setting of this method; did you mean 'radius'?",
            ],
        ),
        ("radius: 2, tune: 3", [f"{LETKF}.tune: must be a valid dictionary, got 3"]),
        (
            "tune: {radius: 2, inflaton: [1.1]}",
            [
                f"{LETKF}.tune.inflaton: is no setting of this method; did you mean 'inflation'?",
                f"{LETKF}.tune.radius: must be a list, got 2; write [2]",
            ],
        ),
    ],
)
def test_that_a_grid_that_is_written_wrongly_is_named_with_what_it_got_and_the_nearest_name(write, tune, expected):
    assert complaints(write(("radius: 2", tune))) == expected


@pytest.mark.parametrize("source", ["''", "'  '"])
def test_that_an_expected_score_says_where_it_is_from(write, source):
    text = GOOD + f"    expected: {{letkf: {{rmse_a: 0.2, source: {source}}}}}\n"
    assert complaints(write(text=text)) == [
        "c.yaml:9: cases.one.expected.letkf.source: must say where the score is from, "
        f"got {source}; write the paper and its table"
    ]


@pytest.mark.parametrize("setting", ["rtpp: 0.3", "tune: {rtpp: [0.1, 0.2]}", "rotate: true, tune: {rtpp: [0.1]}"])
def test_that_relaxation_to_perturbations_is_refused_where_members_are_rotated(write, setting):
    lines = complaints(write(("letkf: {kind: letkf, radius: 2}", f"etkf: {{kind: etkf, {setting}}}")))
    assert lines[0].startswith("c.yaml:8: cases.one.methods.etkf.rtpp: mixes members of the analysis with those of the")
    kept = write(("letkf: {kind: letkf, radius: 2}", "etkf: {kind: etkf, rotate: false, rtpp: 0.3}"))
    assert load_config(Experiment, kept).cases["one"].methods["etkf"].rtpp == 0.3


def test_that_rotation_is_not_tuned_with_relaxation_to_perturbations(write):
    (line,) = complaints(write(("radius: 2", "radius: 2, rtpp: 0.3, tune: {rotate: [false, true]}")))
    assert line.startswith("c.yaml:8: cases.one.methods.letkf.tune.rotate.1: mixes members of the analysis")


def test_that_an_expected_score_belongs_to_a_method(write):
    text = GOOD + "    expected: {lektf: {rmse_a: 0.2, source: nobody}}\n"
    assert complaints(write(text=text)) == [
        "c.yaml:9: cases.one.expected.lektf: is no method of this case; did you mean 'letkf'?"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nname: b\n", "c.yaml:2: name: given twice, first in line 1."),
        ("name: [a\n", "c.yaml:2: not valid YAML"),
        ("- 1\n", "c.yaml:1: must hold keys and values"),
        ("", "c.yaml:1: must hold keys and values"),
    ],
)
def test_that_a_broken_file_is_refused_with_its_line(write, text, expected):
    assert complaints(write(text=text))[0].startswith(expected)


def test_that_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ScoredaError, match="cannot be read"):
        load_config(Experiment, tmp_path / "none.yaml")


def test_that_overrides_are_read_as_yaml_and_floats_need_no_dot(write):
    overrides = ["cases.one.observations.obs_std=1e-3", "seeds=[3, 4]", "cases.one.model.size=9"]
    config = load_config(Experiment, write(), overrides)
    assert config.cases["one"].observations.obs_std == 1e-3
    assert config.seeds == [3, 4]
    assert config.cases["one"].model.build().spec() == Lorenz96(9).spec()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("cases.one.memers=3", "command line: cases.one.memers: unknown key; did you mean 'members'?"),
        ("cases.one.members=1", "command line: cases.one.members: must be greater than or equal to 2, got 1"),
        ("name.first=a", "command line: name.first: 'name' holds no keys, so none can be set."),
        ("=3", "command line: '=3' is not an override. Write key.sub=value, without spaces."),
        ("seeds=[1", "command line: seeds: '[1' is not valid YAML."),
    ],
)
def test_that_a_bad_override_is_blamed_on_the_command_line(write, override, expected):
    assert complaints(write(), overrides=[override]) == [expected]


def test_that_a_resolved_configuration_reads_back_equal(write):
    every = ("obs_std: 0.5", "obs_variance: 0.5, operator: every, step: 2, function: arctan, missing: 0.25")
    config = load_config(Experiment, write(every))
    assert load_config(Experiment, write(text=dump(resolved(config)))) == config


def test_that_japanese_comments_are_read(write):
    assert load_config(Experiment, write(text="# 同化実験\n" + GOOD)) == load_config(Experiment, write())


def test_that_variance_is_the_square_of_the_standard_deviation(write):
    observations = load_config(Experiment, write()).cases["one"].observations
    assert observations.variance == 0.25
    assert (observations.build(8).error.variance == 0.25).all()


@pytest.mark.parametrize(
    ("change", "values"),
    [("", [0, 1, 2, 3, 4, 5, 6, 7]), (", operator: every, step: 3, start: 1", [1, 4, 7]),
     (", operator: sites, sites: [5, 2]", [5, 2])],
)  # fmt: skip
def test_that_the_operator_selects_the_variables_named(write, change, values):
    config = load_config(Experiment, write(("obs_std: 0.5", "obs_std: 0.5" + change)))
    assert config.cases["one"].observations.build_operator(8).sites.tolist() == values


@pytest.mark.parametrize("name", shipped_configs())
def test_that_every_shipped_configuration_is_valid(name):
    assert load_any(find_config(name)).name == name


def test_that_the_shipped_training_is_read_as_one():
    assert isinstance(load_any(find_config("lorenz96")), Training)


def test_that_an_unknown_configuration_is_refused_with_the_nearest_name():
    with pytest.raises(ScoredaError, match="did you mean 'lorenz96'"):
        find_config("lorens96")


TRAINING = """\
name: small
system: {trajectories: 4, states: 3}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\n", "c.yaml:1: give exactly one of `system` (to simulate) and `data` (a file)"),
        (TRAINING + "data: {file: a.nc, variable: x}\n", "c.yaml:3: data: give exactly one"),
        (
            TRAINING + "network: {kernel: 4}\n",
            "c.yaml:3: network.kernel: the kernel of a convolution must be odd, got 4",
        ),
        (TRAINING + "schedule: {sigma_min: 90}\n", "c.yaml:3: schedule.sigma_min: need 0 < sigma_min < sigma_max"),
        (TRAINING + "train: {step: 4}\n", "c.yaml:3: train.step: unknown key; did you mean 'steps'?"),
        (TRAINING + "train: {precision: half}\n", "c.yaml:3: train.precision: unknown value 'half'"),
        (TRAINING + "train: {lr_schedule: exponential}\n", "c.yaml:3: train.lr_final: `lr_final` must be positive"),
        (
            TRAINING + "network: {name: convnet1}\n",
            "c.yaml:3: network.name: unknown value 'convnet1'; did you mean 'convnet1d'?",
        ),
        (
            TRAINING + "network: {name: unet1d, width: 3}\n",
            "c.yaml:3: network.width: unknown key; did you mean 'widths'?",
        ),
        (TRAINING + "network: {width: 1.5}\n", "c.yaml:3: network.width: must be a valid integer, got 1.5"),
        (TRAINING + "network: {channels: 2}\n", "c.yaml:3: network.channels: unknown key"),
        (TRAINING + "schedule: {name: edmm}\n", "c.yaml:3: schedule.name: unknown value 'edmm'; did you mean 'edm'?"),
        (
            TRAINING + "schedule: {name: ddpm, betas: linea}\n",
            "c.yaml:3: schedule.betas: unknown betas 'linea'; did you",
        ),
        (TRAINING + "denoiser: epsilom\n", "c.yaml:3: denoiser.name: unknown value 'epsilom'; did you mean 'epsilon'?"),
        (
            TRAINING + "denoiser: {name: v, noise_input: step}\n",
            "c.yaml:3: denoiser.noise_input: schedule 'edm' has no steps. Use DDPM",
        ),
        (TRAINING + "window: {frames: 4}\n", "c.yaml:3: window.frames: must be at most system.states = 3"),
        (
            "name: a\ndata: {file: f, variable: x, channels: c}\nwindow: {frames: 4}\n",
            "c.yaml:2: data.channels: the frames of a `window` are the channels",
        ),
        (
            "name: a\ndata: {file: f, variable: x, harmonics: 1}\ntrain: {mask: true}\n",
            "c.yaml:2: data.harmonics: an annual cycle cannot be fitted to data with gaps",
        ),
    ],
)
def test_that_a_mistake_in_a_training_configuration_is_named(write, text, expected):
    assert complaints(write(text=text), Training)[0].startswith(expected)


@pytest.mark.parametrize(
    ("section", "constructor"),
    [(sections.DeterministicSection, Lorenz96), (sections.NetworkSection, ConvNet1d), (sections.ScheduleSection, EDM)],
)
def test_that_defaults_are_those_of_the_constructor(section, constructor):
    parameters = inspect.signature(constructor).parameters
    given = section.model_validate({}).model_dump(exclude={"name"})
    assert given == {name: parameters[name].default for name in given}


def test_that_settings_left_out_are_filled_in_and_read_back_equal(write):
    text = TRAINING + "network: {name: unet1d, widths: [8, 16]}\nschedule: {name: ddpm, betas: [0.9, 0.99]}\n"
    config = load_config(Training, write(text=text))
    network = resolved(config)["network"]
    assert network.items() >= {"name": "unet1d", "widths": [8, 16], "norm": "channel", "attention": "none"}.items()
    assert load_config(Training, write(text=dump(resolved(config)))) == config


def test_that_a_network_inside_a_network_is_checked_by_its_own_constructor(write):
    inner = "network: {name: causal_window, network: {channels: 3, witdh: 4}}\n"
    expected = "c.yaml:3: network.network.witdh: unknown key; did you mean 'width'?"
    assert complaints(write(text=TRAINING + inner), Training) == [expected]
    config = load_config(Training, write(text=TRAINING + inner.replace("witdh", "width")))
    assert resolved(config)["network"]["network"].items() >= {"channels": 3, "width": 4, "kernel": 5}.items()


def test_that_training_defaults_are_those_of_the_trainer():
    expected = {name: value for name, value in asdict(TrainSettings()).items() if name != "condition_dropout"}
    assert sections.TrainSection().model_dump() == expected


@pytest.mark.parametrize("section", METHODS)
def test_that_method_defaults_are_those_of_the_constructor(section):
    module, name = section.home
    parameters = inspect.signature(getattr(__import__(module, fromlist=[name]), name)).parameters
    for key, field in section.model_fields.items():
        if (
            key not in section.ours
            and not field.is_required()
            and parameters[key].default is not inspect.Parameter.empty
        ):
            assert field.default == parameters[key].default, key


@pytest.mark.parametrize("section", METHODS)
def test_that_every_kind_of_method_builds(section, tiny_parts):
    kind = typing.get_args(section.model_fields["kind"].annotation)[0]
    needed = {"radius": 2.0} if "radius" in section.model_fields else {}
    method: Settings = section(kind=kind, **needed)
    random = WithModelError(tiny_parts.model, AdditiveError(0.1))
    parts = replace(tiny_parts, model=random) if kind == "optimal_pf" else tiny_parts
    assert method.build(parts).name == kind


def test_that_inflation_schemes_go_around_the_method_in_a_fixed_order(tiny_parts):
    filters = TypeAdapter(MethodSection)
    method = filters.validate_python({"kind": "denkf", "rtps": 0.3, "adaptive": 0.1, "sites": 1}).build(tiny_parts)
    assert method.name == "denkf_sites_adaptive_rtps"
    assert (method.scheme.alpha, method.method.scheme.std) == (0.3, 0.1)


@pytest.fixture(scope="module")
def tiny_parts():
    import numpy as np

    from scoreda.datasets import Normaliser, climatology
    from scoreda.diffusion import KarrasDenoiser, Prior

    model = Lorenz96(8)
    prior = Prior(KarrasDenoiser(ConvNet1d(width=4, blocks=1, embedding=4), EDM()), Normaliser(2.3, 3.6))
    climate = climatology(model, np.random.default_rng(1), samples=50, trajectories=10)
    return Parts(model, lambda: climate, lambda: prior)


def test_that_tuning_lists_what_differs_from_the_defaults(write):
    changed = write(("radius: 2", "radius: 2.5, inflation: 1.02, periodic: true"))
    assert load_config(Experiment, changed).cases["one"].methods["letkf"].tuning() == "radius=2.5 inflation=1.02"


def test_that_dumped_yaml_keeps_the_order_of_keys():
    text = dump({"b": 1, "a": {"d": 2.0, "c": "名"}})
    assert list(yaml.safe_load(text)) == ["b", "a"]
    assert "名" in text
