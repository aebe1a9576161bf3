"""A network that predicts any target from the schedule's own noisy states."""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scoreda.diffusion.denoisers.learned import LearnedDenoiser
from scoreda.diffusion.denoisers.parametrisations import target_by_name
from scoreda.diffusion.denoisers.weightings import Weighting, weighting_by_name
from scoreda.diffusion.schedules import Schedule, expand
from scoreda.errors import ScoredaError, choose

__all__ = ["NOISE_INPUTS", "TargetDenoiser"]


def log_ratio(schedule: Schedule, t: Tensor) -> Tensor:
    """Return a quarter of ln(sigma / alpha), as for EDM."""
    return (schedule.sigma(t) / schedule.alpha(t)).log() / 4


def noise_ratio(schedule: Schedule, t: Tensor) -> Tensor:
    """Return the noise-to-signal ratio itself."""
    return schedule.sigma(t) / schedule.alpha(t)


def time(schedule: Schedule, t: Tensor) -> Tensor:
    """Return the diffusion time."""
    return t


def step(schedule: Any, t: Tensor) -> Tensor:
    """Return the position of the nearest step in a discrete schedule's betas, 0 to T - 1, whole but not integer."""
    return schedule.index(t).to(t.dtype)


NOISE_INPUTS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "log_ratio": log_ratio, "ratio": noise_ratio, "time": time, "step": step,
}  # fmt: skip


class TargetDenoiser(LearnedDenoiser):
    r"""A network that is shown `x_t` as it is and predicts a target, from which the denoised state follows.

    Its weights are tied to what the network is shown, so they are stored with target, noise input and schedule, and
    those of another are refused.

    Args:
        network: Called as `network(x_t, c_noise)` with `x_t` `(B, *)` and `c_noise` `(B,)`.
        schedule: The schedule of training and of `forward`.
        target: What is predicted: "epsilon", "x0", "v", "score", "velocity" or "edm"; see `parametrisations`.
        weighting: "none", the plain error of the target; or a weight of the error of the denoised state: "uniform",
            "snr", "min_snr", "edm", "score", or a function of sigma / alpha; see `weightings`.
        noise_input: What the network knows the noise level by: "log_ratio", "ratio", "time", or "step" of `DDPM`.
        sigma_data: Standard deviation of the (normalised) data, for target and weighting "edm".

    Raises:
        ScoredaError: if a name is unknown, or the schedule has no steps for noise_input="step".
    """

    name = "target"

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        target: str = "epsilon",
        weighting: str | Weighting = "none",
        noise_input: str = "log_ratio",
        sigma_data: float = 1.0,
    ) -> None:
        super().__init__(network, schedule)
        self.target = target_by_name(target, sigma_data)
        self.weighting = _weighting(weighting, sigma_data)
        self.noise_input = _noise_input(noise_input, schedule)
        self._weighting_name = weighting if isinstance(weighting, str) else "none"
        self._tied = dict(
            target=target, noise_input=noise_input, sigma_data=float(sigma_data), schedule=schedule.spec()
        )

    @property
    def schedule(self) -> Schedule:
        """The schedule of training; to set another is refused by a `ScoredaError`."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        own = getattr(self, "_tied", {"schedule": schedule.spec()})["schedule"]  # none yet while it is built
        if schedule.spec() != own:
            raise ScoredaError(
                f"the network knows the noise by the schedule {_short(own)}, not {_short(schedule.spec())}. "
                "Build the denoiser around a network trained under the new one."
            )
        self._schedule = schedule

    def forward(self, x_t: Tensor, t: Tensor, **told: Tensor | None) -> Tensor:
        """Return the denoised states."""
        t = torch.as_tensor(t, dtype=x_t.dtype, device=x_t.device).expand(len(x_t))
        alpha_t, sigma_t = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        return self.target.denoised(self.predict(x_t, t, **told), x_t, alpha_t, sigma_t)

    def predict(self, x_t: Tensor, t: Tensor, **told: Tensor | None) -> Tensor:
        """Return the network's prediction of the target; `t` `(B,)`."""
        return self.ask(x_t, self.noise_input(self.schedule, t), **told)

    def errors(self, x: Tensor, ratio: Tensor, eps: Tensor, **told: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the weight of each sample's squared error, `(B,)`, and the error of the target."""
        t = self.schedule.time(ratio)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        alpha_t, sigma_t = expand(alpha, x), expand(sigma, x)
        error = self.predict(alpha_t * x + sigma_t * eps, t, **told) - self.target.of(x, eps, alpha_t, sigma_t)
        if self.weighting is None:
            return torch.ones_like(ratio), error
        return self.weighting(ratio) * self.target.slope(alpha, sigma) ** 2, error

    def spec(self) -> dict[str, Any]:
        """Return the settings that rebuild the denoiser around network and schedule; of a weighting, names only."""
        tied = {name: value for name, value in self._tied.items() if name != "schedule"}
        return dict(name=self.name, weighting=self._weighting_name, **tied)

    def get_extra_state(self) -> Tensor:
        """Return what the weights are tied to, as the bytes of JSON: a tensor, which every file of weights can hold."""
        return torch.frombuffer(bytearray(json.dumps(self._tied).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse weights that are tied to something else.

        Raises:
            ScoredaError: if target, noise input, `sigma_data` or schedule differ.
        """
        theirs = json.loads(bytes(state.cpu().tolist()))
        for name, own in self._tied.items():
            if theirs.get(name) != own:
                raise ScoredaError(
                    f"weights trained with {name} = {_short(theirs.get(name))} do not fit {name} = {_short(own)}. "
                    "Build the denoiser as it was trained."
                )


def _weighting(weighting: str | Weighting, sigma_data: float) -> Weighting | None:
    if weighting == "none":
        return None
    return weighting_by_name(weighting, sigma_data) if isinstance(weighting, str) else weighting


def _noise_input(name: str, schedule: Schedule) -> Callable[[Any, Tensor], Tensor]:
    noise_input = choose("noise input", name, NOISE_INPUTS)
    if name == "step" and not hasattr(schedule, "index"):
        raise ScoredaError(f"schedule '{schedule.name}' has no steps. Use DDPM, or noise_input='log_ratio'.")
    return noise_input


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
