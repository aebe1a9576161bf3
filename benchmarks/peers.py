r"""The same Gaussian problem through azula and through diffusers: schedules, samplers and guidance beside ours.

    pip install --no-deps --target runs/peers azula einops diffusers huggingface-hub httpx2 httpcore2 truststore h11 \
        requests urllib3 idna certifi charset-normalizer
    PYTHONPATH=runs/peers python benchmarks/peers.py    # a minute; writes results/peers.csv and prints it

Eight correlated variables, four observations of unlike errors; azula in double precision with our schedules behind its
interface, diffusers with its own tables in double precision unless a row says otherwise. A row is the largest absolute
difference over all states. Where both implement one method they must agree to 1e-5, or the script fails; where they
define it differently a row says how, and how far apart that takes them. azula has no SDA; diffusers has no guidance.
"""

import itertools
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from result_tables import write_table
from torch import Tensor

from scoreda.diffusion import (
    DPS,
    EDM,
    JFPS,
    TMPD,
    VE,
    DDIMSampler,
    DDPMSampler,
    DiffPIR,
    DPMSolverSampler,
    EulerSampler,
    GaussianDenoiser,
    HeunSampler,
    MomentMatching,
    PiGDM,
    RectifiedFlow,
    Schedule,
    VPCosine,
    VPLinear,
)
from scoreda.diffusion.schedules import DDPM, transition

try:
    import diffusers
    from azula import guidance, noise, sample
    from azula.denoise import Denoiser as AzulaDenoiser
    from azula.denoise import GaussianDenoiser as AzulaGaussian
    from azula.linalg.covariance import DiagonalCovariance, FullCovariance
except ImportError as error:
    sys.exit(f"the peers are not installed ({error}). The first lines of {__file__} say how.")

RESULTS = Path(__file__).parent / "results" / "peers.csv"
F64, TOLERANCE, SEED = torch.float64, 1e-5, 3


class Row(NamedTuple):
    """One comparison: a largest difference, and whether it must vanish."""

    method: str
    peer: str
    difference: Callable[[], float]
    note: str
    same: bool = True


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=F64)


def gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


# The problem.

FACTOR = randn(8, 8, seed=0)
MEAN, COV = randn(8, seed=1), FACTOR @ FACTOR.T / 8 + 0.1 * torch.eye(8, dtype=F64)
MATRIX, Y = torch.eye(8, dtype=F64)[::2] + 0.3 * randn(4, 8, seed=2), randn(4, seed=4)
R = torch.tensor([0.3, 0.4, 0.5, 0.7], dtype=F64)
STATES = 2 * randn(6, 1, 8, seed=5)
TIMES = torch.tensor([0.05, 0.3, 0.5, 0.8, 1.0], dtype=F64)


def linear(x: Tensor) -> Tensor:
    return x[..., 0, :] @ MATRIX.T


def curved(x: Tensor) -> Tensor:
    return torch.sin(linear(x)) + linear(x) / 2


def alike(x: Tensor) -> Tensor:
    """Observations that are positively correlated at all times: their rows are positive in the eigenbasis of COV."""
    return x[..., 0, :] @ torch.linalg.eigh(COV)[1] @ (torch.eye(8, dtype=F64)[::2] + MATRIX.abs()).T


def cubic(x: Tensor) -> Tensor:
    return alike(x) + alike(x) ** 3 / 10


def ours(schedule: Schedule) -> GaussianDenoiser:
    return GaussianDenoiser(MEAN, COV, schedule)


# azula.


class Ours(noise.Schedule):
    """One of our schedules behind azula's interface."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma."""
        return self.schedule.alpha(t), self.schedule.sigma(t)


def full_covariance() -> FullCovariance:
    values, vectors = torch.linalg.eigh(COV)
    return FullCovariance(vectors, values)


def azula(schedule: Schedule) -> AzulaDenoiser:
    return AzulaGaussian(MEAN, full_covariance(), Ours(schedule))


def schedule_gap(own: Schedule, peer: noise.Schedule) -> float:
    t = torch.linspace(0, 1, 101, dtype=F64)
    return max(gap(a, b) for a, b in zip((own.alpha(t), own.sigma(t)), peer(t), strict=True))


def estimate_gap(own: Callable, peer: AzulaDenoiser) -> float:
    return max(gap(own(STATES, t), peer(STATES, t).mean) for t in TIMES)


def sampler_gap(own: Callable, peer: Callable, schedule: Schedule, steps: int = 40) -> float:
    """Both from the same noise in uniform steps down to t = 0, without a last denoising; one stream of noise."""
    x = STATES * schedule.sigma(torch.ones((), dtype=F64))
    mine = own(ours(schedule), steps, generator(SEED), spacing="uniform", final="none")(x)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        theirs = peer(azula(schedule), steps=steps, silent=True, dtype=F64)(x)
    return gap(mine, theirs)


def guidance_gap(own: Callable, peer: Callable, H: Callable = linear) -> float:
    """Denoised states at several times."""
    schedule = VPCosine()
    return estimate_gap(own(ours(schedule), Y, H, R), peer(azula(schedule), Y, H))


def guided_sampler_gap() -> float:
    schedule = VPCosine()
    theirs = sample.DDIMSampler(mmps(azula(schedule), Y, linear), steps=40, silent=True, dtype=F64)(STATES)
    return gap(DDIMSampler(MomentMatching(ours(schedule), Y, linear, R), 40, final="none")(STATES), theirs)


def mmps(denoiser: AzulaDenoiser, y: Tensor, H: Callable, **settings: object) -> AzulaDenoiser:
    return guidance.MMPSDenoiser(denoiser, y, H, DiagonalCovariance(R), **dict(solver="cg", iterations=8) | settings)


def jfps(denoiser: AzulaDenoiser, y: Tensor, H: Callable) -> AzulaDenoiser:
    return guidance.JFPSDenoiser(denoiser, y, H, DiagonalCovariance(R), full_covariance(), iterations=8)


def tmpd(denoiser: AzulaDenoiser, y: Tensor, H: Callable) -> AzulaDenoiser:
    return guidance.TMPDenoiser(denoiser, y, H, R)


def diffpir(denoiser: AzulaDenoiser, y: Tensor, H: Callable) -> AzulaDenoiser:
    return guidance.DiffPIRDenoiser(denoiser, y, H, R, lmbda=3.0, iterations=8)


def step_times() -> tuple[VPCosine, Tensor, Tensor]:
    return VPCosine(), *torch.tensor([0.6, 0.55], dtype=F64)


def dps_step(x: Tensor, zeta: float = 0.3) -> tuple[Tensor, Tensor]:
    """One ancestral step of both. Theirs takes zeta times the gradient off the state, ours moves the denoised state."""
    schedule, t, s = step_times()
    beta = transition(schedule, s, t)[1] ** 2
    strength = float(zeta * schedule.alpha(t) / (schedule.alpha(s) * beta))
    own = DPS(ours(schedule), Y, linear, 1.0, zeta=strength)
    mine = DDPMSampler(own, 1, generator(SEED)).step(x, t, s)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return mine, guidance.DPSSampler(azula(schedule), Y, linear, zeta).step(x, t, s)


def pigdm_step(correction_only: bool) -> float:
    """One DDIM step without observation error, or the correction of the denoised state that is behind it."""
    schedule, t, s = step_times()
    inverse = torch.linalg.pinv(MATRIX)
    peer = guidance.PGDMSampler(azula(schedule), Y, linear, lambda y: (y @ inverse.T)[..., None, :])
    own, plain = PiGDM(ours(schedule), Y, linear, 1e-10), ours(schedule)
    theirs, unguided = peer.step(STATES, t, s), DDIMSampler(plain).step(STATES, t, s)
    if not correction_only:
        return gap(DDIMSampler(own).step(STATES, t, s), theirs)
    alpha_t, alpha_s = schedule.alpha(t), schedule.alpha(s)
    return gap(alpha_t * (own(STATES, t) - plain(STATES, t)), (theirs - unguided) / (alpha_s * alpha_t))


MATCHED_VP = VPLinear(beta_min=0.0, beta_max=20.0, t_min=1e-9)
MATCHED_COSINE = VPCosine(theta_min=1e-9, margin=1e-3, rho=1.0)
STRAIGHT = EDM(0.02, 50.0, rho=1.0)  # sigma is t
GMRES_1 = dict(solver="gmres", iterations=1)
ALPHA_MIN = [float(s.alpha(torch.ones((), dtype=F64))) for s in (MATCHED_VP, MATCHED_COSINE)]

AZULA = [
    ("schedule VE", lambda: schedule_gap(VE(), noise.VESchedule(0.01, 50.0)), "VE(0.01, 50)"),
    ("schedule VP", lambda: schedule_gap(MATCHED_VP, noise.VPSchedule(ALPHA_MIN[0], 1e-9)),
     "beta_min 0, floors of t and sigma 1e-9"),
    ("schedule cosine", lambda: schedule_gap(MATCHED_COSINE, noise.CosineSchedule(ALPHA_MIN[1], 1e-9)),
     "rho 1, floors of angle and sigma 1e-9"),
    ("Gaussian denoiser", lambda: estimate_gap(ours(VPCosine()), azula(VPCosine())), ""),
    ("DDPM", lambda: sampler_gap(DDPMSampler, sample.DDPMSampler, VPCosine()), "posterior variance"),
    ("DDIM", lambda: sampler_gap(DDIMSampler, sample.DDIMSampler, VPCosine()), ""),
    ("DDIM, eta .5",
     lambda: sampler_gap(partial(DDIMSampler, eta=0.5), partial(sample.DDIMSampler, eta=0.25), VPCosine()),
     "azula's eta is the square of the paper's and ours"),
    ("Euler", lambda: sampler_gap(EulerSampler, sample.EulerSampler, STRAIGHT),
     "EDM with rho 1, where sigma is linear in t"),
    ("Euler of azula, our DDIM", lambda: sampler_gap(DDIMSampler, sample.EulerSampler, VPCosine()),
     "azula steps in sigma / alpha, whatever t is: that is DDIM"),
    ("Heun", lambda: sampler_gap(HeunSampler, sample.HeunSampler, EDM(0.02, 50.0)), "alpha is 1"),
    ("DPM-Solver++, first order", lambda: sampler_gap(DDIMSampler, partial(sample.xEABSampler, order=1), VPCosine()),
     "our DDIM"),
    ("MMPS", lambda: guidance_gap(MomentMatching, mmps), "conjugate gradients to convergence"),
    ("MMPS, nonlinear operator", lambda: guidance_gap(MomentMatching, mmps, curved),
     "conjugate gradients to convergence"),
    ("MMPS, 1 GMRES iteration", lambda: guidance_gap(partial(MomentMatching, **GMRES_1), partial(mmps, **GMRES_1)),
     "azula's default"),
    ("MMPS through 40 DDIM steps", guided_sampler_gap, ""),
    ("JFPS", lambda: guidance_gap(partial(JFPS, covariance=COV), jfps), ""),
    ("TMPD", lambda: guidance_gap(TMPD, tmpd, alike), "observations positively correlated"),
    ("DiffPIR", lambda: guidance_gap(partial(DiffPIR, lam=3.0), diffpir), "GMRES to convergence"),
    ("DPS, one step of one member", lambda: gap(*dps_step(STATES[:1])),
     "R = 1; zeta of azula times alpha_t / (alpha_s beta)"),
    ("PiGDM, the correction", lambda: pigdm_step(correction_only=True), "R -> 0, which is all azula has"),
]  # fmt: skip

AZULA_DIFFERS = [
    ("schedule rectified", lambda: schedule_gap(RectifiedFlow(), noise.RectifiedSchedule(1e-3, 1e-3)),
     "ours stays on alpha + sigma = 1; the difference is the floor"),
    ("DDIM, eta .5 in both",
     lambda: sampler_gap(partial(DDIMSampler, eta=0.5), partial(sample.DDIMSampler, eta=0.5), VPCosine()),
     "azula's eta multiplies the variance; the paper's and ours the standard deviation"),
    ("Euler under VPCosine", lambda: sampler_gap(EulerSampler, sample.EulerSampler, VPCosine()),
     "ours steps in the schedule's own t"),
    ("Heun under VPCosine", lambda: sampler_gap(HeunSampler, sample.HeunSampler, VPCosine()),
     "azula steps in sigma / alpha, ours along alpha and sigma; 40 steps"),
    ("Heun under VPCosine, finer", lambda: sampler_gap(HeunSampler, sample.HeunSampler, VPCosine(), 2560),
     "the same with 2560 steps: one limit"),
    ("DPM-Solver++, second order", lambda: sampler_gap(DPMSolverSampler, sample.xEABSampler, EDM(0.02, 50.0)),
     "azula integrates the extrapolation exactly, the paper's 2M and ours at the middle"),
    ("MMPS, azula's default", lambda: guidance_gap(MomentMatching, partial(mmps, **GMRES_1)),
     "one GMRES iteration against ours to convergence"),
    ("TMPD, negative row sums", lambda: guidance_gap(TMPD, tmpd), "ours counts them as zero"),
    ("TMPD, nonlinear operator", lambda: guidance_gap(TMPD, tmpd, cubic),
     "azula takes H V H^T 1 with the operator itself, ours linearised"),
    ("DPS, one step of six members", lambda: gap(*dps_step(STATES)),
     "azula's norm is of the whole batch, ours of each member"),
    ("PiGDM, one step", lambda: pigdm_step(correction_only=False),
     "azula adds alpha_s alpha_t times the gradient after DDIM, ours moves the denoised state"),
]  # fmt: skip


# diffusers.


def scheduler(kind: str, double: bool = True, **settings: object) -> SimpleNamespace:
    """Return a scheduler that takes denoised states; its table as it is, or computed again in double precision."""
    made = getattr(diffusers, kind)(beta_start=1e-4, beta_end=0.02, prediction_type="sample", **settings)
    if double:
        made.alphas_cumprod = (1 - DDPM().betas).cumprod(0)
    return made


def table_gap(name: str, theirs: str) -> float:
    return gap(DDPM(name).betas, diffusers.DDPMScheduler(beta_schedule=theirs).betas)


def vp_loop(made: SimpleNamespace, x: Tensor, **settings: object) -> Tensor:
    """Denoise and step at every time of a scheduler of variance-preserving states."""
    denoiser = ours(DDPM())
    for k in made.timesteps:
        x = made.step(denoiser(x, k.double() / 999), k, x, **settings).prev_sample
    return x


def ve_loop(made: SimpleNamespace, x: Tensor) -> Tensor:
    """Do the same to states without a scale on the signal; the noise of every call is in the scheduler's own list."""
    denoiser = ours(STRAIGHT)
    made.set_begin_index(0)
    made.is_scale_input_called = True
    for k, sigma in zip(made.timesteps, made.sigmas.double(), strict=False):
        x = made.step(denoiser(x, STRAIGHT.time(sigma)), k, x).prev_sample
    return x


def ddpm_gap(variance: str, theirs: str, double: bool = True) -> float:
    made = scheduler("DDPMScheduler", double, clip_sample=False, variance_type=theirs)
    mine = DDPMSampler(ours(DDPM()), 1000, generator(SEED), variance)(STATES)
    return gap(mine, vp_loop(made, STATES, generator=generator(SEED)))


def ddim_gap(eta: float) -> float:
    made = scheduler("DDIMScheduler", clip_sample=False)
    made.set_timesteps(50)
    mine = DDIMSampler(ours(DDPM()), 50, generator(SEED), eta)(STATES, start=980 / 999)
    return gap(mine, vp_loop(made, STATES, eta=eta, generator=generator(SEED)))


def dpm_gap(algorithm: str = "midpoint") -> float:
    made = scheduler("DPMSolverMultistepScheduler", solver_type=algorithm)
    made.set_timesteps(27)
    times = lambda schedule, start, number: made.timesteps.double() / 999
    return gap(DPMSolverSampler(ours(DDPM()), 27, spacing=times)(STATES), vp_loop(made, STATES))


def ve_gap(own: Callable, kind: str, **settings: object) -> float:
    made = scheduler(kind, **settings)
    made.set_timesteps(28)
    sigmas = torch.tensor([s for s, _ in itertools.groupby(made.sigmas.tolist()) if s > 0], dtype=F64)
    x = STATES * sigmas[0]
    return gap(own(ours(STRAIGHT), 28, spacing=lambda *_: STRAIGHT.time(sigmas))(x), ve_loop(made, x))


def karras_gap() -> float:
    made = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0)
    made.set_timesteps(20)
    return gap(EDM().sigma(torch.linspace(1, 0, 20, dtype=F64)) / made.sigmas[:-1], torch.ones(20))


DIFFUSERS = [
    ("betas linear", lambda: table_gap("linear", "linear"), ""),
    ("betas squared cosine", lambda: table_gap("squared_cosine", "squaredcos_cap_v2"), ""),
    ("schedule EDM", karras_gap, "20 noise levels, relative difference"),
    ("DDPM, posterior variance", lambda: ddpm_gap("posterior", "fixed_small"), "1000 steps"),
    ("DDPM, beta variance", lambda: ddpm_gap("beta", "fixed_large"), "1000 steps"),
    ("DDIM", lambda: ddim_gap(0.0), "50 steps from step 980, the scheduler's default"),
    ("DDIM, eta .5", lambda: ddim_gap(0.5), "50 steps"),
    ("Euler", lambda: ve_gap(EulerSampler, "EulerDiscreteScheduler"),
     "28 steps; the scheduler works in single precision"),
    ("Heun", lambda: ve_gap(HeunSampler, "HeunDiscreteScheduler"), "28 steps"),
    ("DPM-Solver++(2M)", dpm_gap, "27 steps; the scheduler works in single precision"),
]  # fmt: skip

DIFFUSERS_DIFFERS = [
    ("DDPM, its own table", lambda: ddpm_gap("posterior", "fixed_small", double=False),
     "1000 steps with the scheduler's table in single precision"),
    ("DPM-Solver++(2M), heun", lambda: dpm_gap("heun"), "integrates the extrapolation exactly, as azula does"),
]  # fmt: skip


def rows() -> list[Row]:
    parts = (("azula", AZULA, True), ("azula", AZULA_DIFFERS, False))
    parts += (("diffusers", DIFFUSERS, True), ("diffusers", DIFFUSERS_DIFFERS, False))
    return [Row(name, peer, find, note, same) for peer, part, same in parts for name, find, note in part]


def compare(row: Row) -> dict[str, object]:
    """Return a row of the table."""
    difference = row.difference()
    print(f"{row.peer:10} {row.method:30} {difference:9.1e}  {'same' if row.same else 'other'}  {row.note}", flush=True)
    return dict(
        method=row.method, peer=row.peer, version=version(row.peer), max_difference=f"{difference:.1e}",
        definition="same" if row.same else "other", note=row.note,
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = [compare(row) for row in rows()]
    write_table(RESULTS, found)
    wrong = [row["method"] for row in found if row["definition"] == "same" and float(row["max_difference"]) > TOLERANCE]
    sys.exit(f"differ by more than {TOLERANCE}: {', '.join(wrong)}" if wrong else 0)
