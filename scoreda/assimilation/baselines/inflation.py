"""Inflation schemes, and the filter that any of them makes of any filter: `Inflated(LETKF(model, 8.0), RTPS(0.3))`."""

from typing import Any, Protocol

import numpy as np
from scipy.optimize import minimize_scalar

from scoreda.assimilation.baselines.checks import checked_positive
from scoreda.assimilation.baselines.ensembles import checked_inflation, inflated, split
from scoreda.assimilation.protocol import Info, State, Traits, forecast_to, innovation_chi2
from scoreda.observations import Observation

__all__ = ["RTPP", "RTPS", "Adaptive", "Inflated", "Inflation", "Multiplicative"]

Memory = dict[str, np.ndarray]


class Inflation(Protocol):
    """What happens to an ensemble just before and just after its analysis.

    `keeps_members` tells whether a member of the analysis must descend from that of the forecast.
    """

    name: str
    keeps_members: bool

    def of_forecast(self, E: np.ndarray, obs: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Return the forecast `(N, Nx)` to analyse, and the memory with what the scheme needs the next time."""
        ...

    def of_analysis(self, prior: np.ndarray, analysis: np.ndarray) -> np.ndarray:
        """Return the analysis `(N, Nx)` to go on with, given the one made and the forecast not inflated."""
        ...


class Multiplicative:
    """Forecast anomalies times a factor: what the argument `inflation` of the filters does.

    Source: Anderson and Anderson (1999), https://doi.org/10.1175/1520-0493(1999)127<2741:AMCIOT>2.0.CO;2
    """

    name, keeps_members = "multiplicative", False

    def __init__(self, factor: float) -> None:
        self.factor = checked_inflation(factor)

    def of_forecast(self, E: np.ndarray, obs: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Scale the anomalies."""
        return inflated(E, self.factor), memory

    def of_analysis(self, prior: np.ndarray, analysis: np.ndarray) -> np.ndarray:
        """Leave the analysis."""
        return analysis


class RTPS:
    r"""Relaxation to the prior spread: at every variable $A^a \to A^a (1 + \alpha (\sigma_b - \sigma_a) / \sigma_a)$.

    Args:
        alpha: 0 leaves the analysis, 1 restores the spread of the forecast.

    Source: Whitaker and Hamill (2012), https://doi.org/10.1175/MWR-D-11-00276.1, eq. 2.
    """

    name, keeps_members = "rtps", False

    def __init__(self, alpha: float) -> None:
        self.alpha = _checked_relaxation(alpha)

    def of_forecast(self, E: np.ndarray, obs: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Leave the forecast."""
        return E, memory

    def of_analysis(self, prior: np.ndarray, analysis: np.ndarray) -> np.ndarray:
        """Scale the anomalies; a variable whose members agree stays as it is."""
        (mean, A), before, after = split(analysis), prior.std(0), analysis.std(0)
        ratio = np.divide(before, after, out=np.ones_like(after), where=after > 0)
        return mean + A * (1 + self.alpha * (ratio - 1))


class RTPP:
    r"""Relaxation to the prior perturbations: $A^a \to (1 - \alpha) A^a + \alpha A^b$.

    Args:
        alpha: 0 leaves the analysis, 1 restores the anomalies of the forecast.

    Source: Zhang et al. (2004), https://doi.org/10.1175/1520-0493(2004)132<1238:IOIEAO>2.0.CO;2, eq. 5.
    """

    name, keeps_members = "rtpp", True

    def __init__(self, alpha: float) -> None:
        self.alpha = _checked_relaxation(alpha)

    def of_forecast(self, E: np.ndarray, obs: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Leave the forecast."""
        return E, memory

    def of_analysis(self, prior: np.ndarray, analysis: np.ndarray) -> np.ndarray:
        """Mix the anomalies."""
        (mean, A), (_, A_b) = split(analysis), split(prior)
        return mean + (1 - self.alpha) * A + self.alpha * A_b


class Adaptive:
    r"""One inflation for all variables, estimated from the innovations as the cycle goes on.

    The factor $\lambda$ on the forecast covariance is the mode of

    $$ N(\lambda; \lambda_b, \sigma_\lambda^2) \prod_j N(d_j; 0, \lambda s_j + R_j) $$

    with the last estimate $\lambda_b$, and innovation $d_j$ and forecast variance $s_j$ of every observation, taken for
    independent of one another. The diagnostic `inflation` is $\lambda$; anomalies are multiplied by its root.

    Args:
        std: How far the factor may drift between two observation times, $\sigma_\lambda$: small values average over
            more cycles.
        least: Lower bound; 1 never deflates.
        most: Upper bound.

    Source: Anderson (2007), https://doi.org/10.1111/j.1600-0870.2006.00216.x, with the mode of all observations at
    once in place of one after the other.
    """

    name, keeps_members = "adaptive", False

    def __init__(self, std: float = 0.1, least: float = 1.0, most: float = 10.0) -> None:
        self.std, self.least, self.most = checked_positive("std", std), checked_positive("least", least), float(most)
        if not self.least < self.most < np.inf:
            raise ValueError(f"`most` must be above `least` = {least}, got {most}. Both bound the covariance factor.")

    def of_forecast(self, E: np.ndarray, obs: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Update the factor and scale the anomalies by its root."""
        factor = self._mode(float(memory.get("inflation", np.ones(()))), E, obs)
        return inflated(E, factor**0.5), memory | {"inflation": np.array(factor)}

    def of_analysis(self, prior: np.ndarray, analysis: np.ndarray) -> np.ndarray:
        """Leave the analysis."""
        return analysis

    def _mode(self, before: float, E: np.ndarray, obs: Observation) -> float:
        Hx, Y = split(obs.operator(E))
        s, d2, R = (Y * Y).sum(0) / (len(Y) - 1), (obs.values - Hx) ** 2, obs.error.variance

        def misfit(factor: float) -> float:
            total = factor * s + R
            return ((factor - before) / self.std) ** 2 + float(np.sum(np.log(total) + d2 / total))

        return float(minimize_scalar(misfit, bounds=(self.least, self.most), method="bounded").x)


class Inflated:
    """A filter with an inflation scheme around its analysis; wrap again for two of them.

    Args:
        method: Any filter: a method whose step forecasts the ensemble with its `model` and then updates it.
        scheme: What to do before and after the update.

    Raises:
        ValueError: if the method does not analyse the forecast it is given, as smoothers do not, or if the scheme needs
            members that keep their identity, and the filter rotates or reorders them.
    """

    def __init__(self, method: Any, scheme: Inflation) -> None:
        traits = Traits.of(method)
        if not (traits.takes_forecast and traits.analyses_forecast):
            raise _no_filter(method)
        self.method, self.scheme, self.model = method, scheme, method.model
        if scheme.keeps_members and _rotates(method):
            raise ValueError(
                f"{scheme.name} mixes members of the analysis with those of the forecast, but {method.name} rotates "
                "them. Pass rotate=False to it, or use RTPS."
            )
        if scheme.keeps_members and not traits.keeps_members:
            raise ValueError(
                f"{scheme.name} mixes members of the analysis with those of the forecast, but {method.name} puts other "
                "members in their rows. Use RTPS, or LocalPF."
            )
        self.name = f"{method.name}_{scheme.name}"

    def init(self, ensemble: np.ndarray, time: float = 0.0) -> State:
        """Return the filter's own first state."""
        return self.method.init(ensemble, time)

    def step(self, state: State, obs: Observation, rng: np.random.Generator) -> tuple[State, Info]:
        """Forecast to `obs.time`, inflate, let the filter analyse, relax; nothing is inflated without observations.

        Raises:
            ValueError: if the method analysed another forecast, for all that its `Traits` say.
        """
        prior, steps = forecast_to(self.model, state.ensemble, state.time, obs.time, rng)
        obs, memory = obs.present(), state.memory
        useful = not obs.is_empty and np.isfinite(prior).all()
        E, memory = self.scheme.of_forecast(prior, obs, memory) if useful else (prior, memory)
        state, info = self.method.step(state.replace(time=obs.time, ensemble=E, memory=memory), obs, rng)
        if not np.array_equal(info.prior, E, equal_nan=True):
            raise _no_filter(self.method)
        if useful:
            state = state.replace(ensemble=self.scheme.of_analysis(prior, state.ensemble))
        own = dict(chi2=innovation_chi2(prior, obs), model_steps=float(len(prior) * steps))
        own |= {"inflation": float(memory["inflation"])} if "inflation" in memory else {}
        return state, Info(prior, info.diagnostics | own)


def _no_filter(method: Any) -> ValueError:
    """Return what to raise for a method that analyses something else."""
    return ValueError(
        f"{method.name} does not analyse the forecast it is given, so it cannot be inflated from outside. Use its own "
        "`inflation`, if it has one, or a filter such as ETKF."
    )


def _rotates(method: Any) -> bool:
    """Return whether a filter, or the one inside it, rotates its members."""
    return getattr(method, "rotate", False) or (hasattr(method, "method") and _rotates(method.method))


def _checked_relaxation(alpha: float) -> float:
    """Return the relaxation; ValueError if it is negative or not finite."""
    if not (np.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"`alpha` must not be negative, got {alpha}. 0 is no relaxation, 1 back to the forecast.")
    return float(alpha)
