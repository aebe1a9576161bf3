"""The examples of the README run as they are written, one after the other."""

import re
from pathlib import Path

import pytest
import xarray as xr

README = Path(__file__).parents[1] / "README.md"
TWIN, OWN, DATA = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_that_a_model_an_operator_and_a_file_of_one_s_own_are_assimilated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(OWN + DATA, {})
    of_twin, of_file = map(float, capsys.readouterr().out.split())
    assert 0 < of_twin < 0.1
    assert 0 < of_file < 0.1
    with xr.open_dataset("analysis.nc") as run:
        assert dict(run["analysis"].sizes) == {"time": 20, "member": 10, "space": 2}


@pytest.mark.slow
def test_that_the_first_example_finds_the_truth_with_both_methods(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(TWIN, {})
    scores = {line[:9].strip(): float(line.split()[-3]) for line in capsys.readouterr().out.splitlines()}
    assert scores["Score-4D"] < 0.06
    assert scores["LETKF"] < 1.0
    assert Path("hovmoeller.png").stat().st_size > 10_000
