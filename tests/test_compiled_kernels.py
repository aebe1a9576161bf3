"""A kernel gives the same bits in the process that compiles it and in those that take it from the cache."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib
import numpy as np
from scoreda.assimilation import ETKF, LETKF, SerialEnSRF, State
from scoreda.models import Lorenz05, Lorenz96, TwoScaleLorenz96
from scoreda.observations import EveryNth, GaussianError, Observation
from scoreda.verification.score_kernels import energy_scores, member_statistics

rng = np.random.default_rng(1)
models = [Lorenz96(40), Lorenz96(3000), Lorenz05(240), TwoScaleLorenz96()]
results = [model.step(2 + rng.normal(size=(9, model.size)), 3) for model in models]
model, operator = Lorenz96(40), EveryNth(40, 2)
for linear in (model.tangent, model.adjoint):
    results.extend(linear(2 + rng.normal(size=40), rng.normal(size=(9, 40)), 3))
obs = Observation(0.05, rng.normal(size=20), operator, GaussianError(0.5, 20))
for method in (ETKF(model), LETKF(model, radius=4.0, rotate=True), SerialEnSRF(model, radius=4.0)):
    state, _ = method.step(State(0.0, 2 + rng.normal(size=(9, 40))), obs, rng)
    results.append(state.ensemble)
E, x = rng.normal(size=(3, 9, 70)), rng.normal(size=(3, 70))
results.extend([member_statistics(E, x), energy_scores(E, x)])
print([hashlib.sha256(np.ascontiguousarray(r).tobytes()).hexdigest()[:12] for r in results])
"""


@pytest.mark.slow
def test_that_a_kernel_from_the_cache_gives_the_bits_of_the_one_that_was_just_compiled(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1"}
    run = lambda: subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    compiled, cached = run(), run()
    assert list(tmp_path.rglob("*.nbc")), compiled.stderr
    assert compiled.stdout, compiled.stderr
    assert cached.stdout == compiled.stdout
