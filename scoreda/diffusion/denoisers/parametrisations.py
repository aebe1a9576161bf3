r"""What a network may be asked for, and the way from each to the denoised state: the one place for conversions.

Every target is a combination $\tau = p\, x + q\, \epsilon$ of the clean state and the noise in $x_t = \alpha x + \sigma
\epsilon$. So the denoised state is the solution of two linear equations, and back,

$$ \hat x = \frac{q\, x_t - \sigma \tau}{q \alpha - p \sigma}, \qquad
   \tau = \frac{q\, x_t - (q \alpha - p \sigma) \hat x}{\sigma}. $$
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from scoreda.errors import choose

__all__ = ["TARGETS", "Target", "convert", "target_by_name"]

Coefficients = Callable[[Tensor, Tensor, float], tuple[Tensor | float, Tensor | float]]


@dataclass(frozen=True)
class Target:
    """One thing to predict; in all methods `alpha` and `sigma` broadcast against the states.

    Attributes:
        coefficients: p and q at `(alpha, sigma, sigma_data)`.
        sigma_data: Standard deviation of the data, of use to "edm" only.
    """

    coefficients: Coefficients
    sigma_data: float = 1.0

    def of(self, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the target of clean states and their noise."""
        p, q = self.coefficients(alpha, sigma, self.sigma_data)
        return p * x + q * eps

    def denoised(self, value: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the denoised state that a prediction of the target stands for."""
        p, q = self.coefficients(alpha, sigma, self.sigma_data)
        return (q * x_t - sigma * value) / (q * alpha - p * sigma)

    def predicted(self, x_hat: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the prediction of the target that stands for a denoised state."""
        p, q = self.coefficients(alpha, sigma, self.sigma_data)
        return (q * x_t - (q * alpha - p * sigma) * x_hat) / sigma

    def slope(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the error of the denoised state over that of the target."""
        p, q = self.coefficients(alpha, sigma, self.sigma_data)
        return -sigma / (q * alpha - p * sigma)


def epsilon(alpha: Tensor, sigma: Tensor, sigma_data: float) -> tuple[float, float]:
    """Return p, q of the noise (Ho et al. 2020)."""
    return 0.0, 1.0


def x0(alpha: Tensor, sigma: Tensor, sigma_data: float) -> tuple[float, float]:
    """Return p, q of the clean state itself."""
    return 1.0, 0.0


def v(alpha: Tensor, sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """Return p, q of alpha eps - sigma x (Salimans & Ho 2022, appendix D, https://arxiv.org/abs/2202.00512)."""
    return -sigma, alpha


def score(alpha: Tensor, sigma: Tensor, sigma_data: float) -> tuple[float, Tensor]:
    """Return p, q of the score of p(x_t | x), -eps / sigma (Song et al. 2021)."""
    return 0.0, -1 / sigma


def velocity(alpha: Tensor, sigma: Tensor, sigma_data: float) -> tuple[float, float]:
    """Return p, q of the velocity of a straight line from state to noise, eps - x (Liu et al. 2022)."""
    return -1.0, 1.0


def edm(alpha: Tensor, sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """Return p, q of F in c_skip x_t / alpha + c_out F (Karras et al. 2022, table 1).

    Under VP and for data of unit variance it is -v.
    """
    s = sigma / alpha
    total = (s**2 + sigma_data**2).sqrt()
    return s / (sigma_data * total), -sigma_data / total


TARGETS: dict[str, Coefficients] = {
    "epsilon": epsilon, "x0": x0, "v": v, "score": score, "velocity": velocity, "edm": edm,
}  # fmt: skip


def target_by_name(name: str, sigma_data: float = 1.0) -> Target:
    """Return a target by its name.

    Raises:
        ScoredaError: if there is none of that name.
    """
    return Target(choose("target", name, TARGETS), sigma_data)


def convert(value: Tensor, source: str, to: str, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return a prediction of the target `source` as one of the target `to`, for data of unit variance.

    Raises:
        ScoredaError: if there is no target of one of these names.
    """
    x_hat = target_by_name(source).denoised(value, x_t, alpha, sigma)
    return target_by_name(to).predicted(x_hat, x_t, alpha, sigma)
