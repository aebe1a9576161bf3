"""Names that nobody knows are answered with the nearest."""

import pytest

from scoreda.diffusion import denoiser_from_spec, network_from_spec, schedule_from_spec
from scoreda.errors import ScoredaError, choose, construct


def test_that_a_choice_is_what_the_name_stands_for():
    assert choose("letter", "a", {"a": 1, "b": 2}) == 1


def test_that_a_thing_is_constructed_from_its_name_and_settings():
    assert construct("number", {"name": "complex", "imag": 2.0}, {"complex": complex}, 1.0) == 1 + 2j


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: schedule_from_spec({"name": "vp_cos"}), "unknown schedule 'vp_cos'; did you mean 'vp_cosine'"),
        (
            lambda: schedule_from_spec({"name": "vp_cosine", "thetamin": 0.1}),
            "unknown setting of schedule 'vp_cosine': 'thetamin'; did you mean 'theta_min'",
        ),
        (
            lambda: network_from_spec({"name": "unet1d", "width": 8}),
            "unknown setting of network 'unet1d': 'width'; did you mean 'widths'",
        ),
        (
            lambda: network_from_spec({"name": "unet1d", "embedding": {"widht": 8}}),
            "unknown setting of a noise embedding: 'widht'; did you mean 'width'",
        ),
        (
            lambda: denoiser_from_spec({"name": "karras", "sigmadata": 1.0}, None, None),
            "unknown setting of denoiser 'karras': 'sigmadata'; did you mean 'sigma_data'",
        ),
    ],
)
def test_that_an_unknown_name_or_setting_is_answered_with_the_nearest(build, message):
    with pytest.raises(ScoredaError, match=message):
        build()
