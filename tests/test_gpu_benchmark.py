"""The benchmark for GPUs, where there is none."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def test_that_the_benchmark_for_gpus_runs_without_one_and_says_what_it_did_not_measure():
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len([line for line in lines if line.startswith("ceiling")]) == 3
    assert all(line.endswith("not measured") for line in lines)
    measured = [line for line in lines if line.count("not measured") == 1 and "members/s" in line]
    assert len(measured) == 2  # two small ensembles
    assert [line.count("not measured") for line in lines if "one graph" in line] == [2] * 6
    assert len([line for line in lines if line.startswith("Score-4D") and line.count("not measured") == 1]) == 2
