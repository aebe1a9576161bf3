"""Names that nobody knows: what they are answered with, however they are written."""

import pytest

from scoreda.diffusion.guidance import GUIDANCE, guidance_by_name
from scoreda.diffusion.schedules import SCHEDULES, schedule_from_spec
from scoreda.errors import ScoredaError, suggest


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("VPLinear", "did you mean 'vp_linear'?"),
        ("vp-cosine", "did you mean 'vp_cosine'?"),
        ("vp linaer", "did you mean 'vp_linear'?"),
        ("vp", "did you mean 'sub_vp' or 'vp_constant' or 'vp_cosine' or 'vp_linear'?"),
        ("EDM", "did you mean 'edm'?"),
        ("nothing like it", f"known: {', '.join(sorted(SCHEDULES))}"),
        ("", f"known: {', '.join(sorted(SCHEDULES))}"),
    ],
)
def test_that_a_name_is_recognised_however_it_is_written(name, answer):
    assert suggest(name, SCHEDULES) == answer
    with pytest.raises(ScoredaError, match="unknown schedule"):
        schedule_from_spec({"name": name})


@pytest.mark.parametrize("name", ["DPS", "FI6", "PiGDM", "MomentMatching", "constant-derivative"])
def test_that_a_guidance_method_is_found_by_the_name_of_its_class(name):
    near = {"momentmatching": "moment_matching", "constant-derivative": "constant_derivative"}
    with pytest.raises(ScoredaError, match=f"did you mean '{near.get(name.lower(), name.lower())}'"):
        guidance_by_name(name)
    assert near.get(name.lower(), name.lower()) in GUIDANCE


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("twisted_smc", "sampler TwistedSMC"),
        ("TDS", "sampler TwistedSMC"),
        ("RePaint", "sampler RePaint"),
        ("classifier_free", "denoiser ClassifierFree"),
    ],
)
def test_that_methods_of_another_form_are_answered_with_how_they_are_called(name, instead):
    with pytest.raises(ScoredaError, match=f"guidance '{name}' is not called as Method.*Use the {instead}"):
        guidance_by_name(name)
