"""How many steps a sampler needs: the spread of a Gaussian posterior, whose denoiser is exact.

    OMP_NUM_THREADS=1 python benchmarks/samplers.py    # writes results/samplers.csv and prints it; a minute

Three variables with prior N(0, 1), each observed with an error of its own, of standard deviation .1, .5 and 1. `rmse`
is the root mean square over the three of the relative error of the standard deviation of 40,000 samples, which alone
costs up to .004. The last three rows are samplers of 1,000 steps as they were published: too coarse near the data.
"""

from pathlib import Path
from typing import Any

import torch
from result_tables import write_table
from torch import Tensor

from scoreda.diffusion import SAMPLERS, GaussianDenoiser, Schedule, VPConstant, VPCosine, noise
from scoreda.diffusion.schedules import DDPM

RESULTS = Path(__file__).parent / "results" / "samplers.csv"
OBS_STD = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
POSTERIOR_STD = (1 + OBS_STD**-2) ** -0.5
SAMPLES, STEPS = 40_000, (10, 20, 50, 200, 1000)

OURS = {
    "euler": {}, "ddim": {}, "heun": {}, "dpm_solver": {}, "edm": {}, "ddpm": dict(spacing="log_snr"),
    "euler_maruyama": dict(spacing="log_snr"), "predictor_corrector": dict(spacing="log_snr"),
}  # fmt: skip
PUBLISHED = [
    ("ddpm", DDPM(), dict(variance="posterior")),
    ("ddpm", DDPM(), dict(variance="beta")),
    ("euler_maruyama", VPConstant(10.0, t_min=1e-3), {}),
]


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, schedule: Schedule) -> None:
        mean, cov = torch.zeros_like(POSTERIOR_STD), torch.diag(POSTERIOR_STD**2)
        self.denoiser, self.schedule, self.calls = GaussianDenoiser(mean, cov, schedule), schedule, 0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x | x_t]."""
        self.calls += 1
        return self.denoiser(x_t, t)


def measure(name: str, schedule: Schedule, steps: int, **settings: Any) -> dict[str, object]:
    """Return a row of the table."""
    denoiser, generator = Counted(schedule), torch.Generator().manual_seed(0)
    x = noise((SAMPLES, 1, 3), denoiser, generator).double()
    drawn = SAMPLERS[name](denoiser, steps, generator, **settings)(x)[:, 0]
    rmse = float((drawn.std(0) / POSTERIOR_STD - 1).square().mean().sqrt())
    told = " ".join(f"{key}={value}" for key, value in settings.items())
    row = dict(
        sampler=name, schedule=schedule.name, settings=told, steps=steps, evaluations=denoiser.calls, rmse=f"{rmse:.4f}"
    )
    print(*(f"{value!s:20}" for value in row.values()), flush=True)
    return row


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = [measure(name, VPCosine(), steps, **settings) for name, settings in OURS.items() for steps in STEPS]
    write_table(RESULTS, rows + [measure(name, schedule, 1000, **settings) for name, schedule, settings in PUBLISHED])
