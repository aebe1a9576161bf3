"""Every assimilation method a configuration can name: one class of settings each, named as the constructor names them.

A new method is one class here and one entry in `MethodSection`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from scoreda.experiments.method_settings import Count, GaussianFilter, Inflatable, Likely, Positive, Settings

__all__ = ["MethodSection"]


class FreeRunSettings(Settings):
    """No assimilation."""

    home = "scoreda.assimilation.baselines", "FreeRun"
    kind: Literal["free_run"]


class ClimatologySettings(Settings):
    """Climatological states at every time."""

    home = "scoreda.assimilation.baselines", "Climatological"
    ingredients = {"climatology": "climatology"}
    kind: Literal["climatology"]


class OISettings(Settings):
    """Optimal interpolation."""

    home = "scoreda.assimilation.baselines", "OptimalInterpolation"
    ingredients = {"climatology": "climatology"}
    kind: Literal["oi"]


class PersistenceSettings(Settings):
    """The optimal interpolation of the time before."""

    home = "scoreda.assimilation.baselines", "Persistence"
    ingredients = {"climatology": "climatology"}
    kind: Literal["persistence"]


class CovarianceFilter(GaussianFilter):
    """What filters have that apply one gain to all members; `radius` tapers their covariances."""

    inflation: Positive = 1.0
    radius: Positive | None = None
    periodic: bool = True


class EnKFSettings(CovarianceFilter):
    """The stochastic EnKF."""

    home = "scoreda.assimilation.baselines", "StochasticEnKF"
    kind: Literal["enkf"]


class DEnKFSettings(CovarianceFilter):
    """The deterministic EnKF."""

    home = "scoreda.assimilation.baselines", "DEnKF"
    kind: Literal["denkf"]


class SerialEnSRFSettings(GaussianFilter):
    """The serial ensemble square-root filter, or ensemble adjustment filter."""

    home = "scoreda.assimilation.baselines", "SerialEnSRF"
    kind: Literal["serial_ensrf"]
    radius: Positive | None = None
    inflation: Positive = 1.0
    rotate: bool = False
    periodic: bool = True


class RankHistogramSettings(Inflatable):
    """The rank-histogram filter, which takes errors as they are."""

    home = "scoreda.assimilation.baselines", "RankHistogramFilter"
    kind: Literal["rank_histogram"]
    radius: Positive | None = None
    inflation: Positive = 1.0
    periodic: bool = True


class ParticleFilter(Settings):
    """What particle filters have; they resample when fewer than `threshold` of the members are effective."""

    threshold: float = Field(default=1.0, ge=0, le=1)
    duplicates_only: bool = False


class BootstrapPFSettings(ParticleFilter):
    """The bootstrap particle filter; `bandwidth` parts equal particles."""

    home = "scoreda.assimilation.baselines", "BootstrapPF"
    kind: Literal["bootstrap_pf"]
    bandwidth: float = Field(default=0.2, ge=0)


class OptimalPFSettings(ParticleFilter):
    """The particle filter with the optimal proposal, for models with additive errors."""

    home = "scoreda.assimilation.baselines", "OptimalPF"
    kind: Literal["optimal_pf"]
    bandwidth: float = Field(default=0.0, ge=0)


class LocalPFSettings(Inflatable):
    """The local particle filter; it needs `rtps` where the model is perfect."""

    home = "scoreda.assimilation.baselines", "LocalPF"
    kind: Literal["local_pf"]
    radius: Positive
    alpha: float = Field(default=0.98, gt=0, le=1)
    periodic: bool = True


class ETKFSettings(GaussianFilter):
    """The ensemble transform Kalman filter."""

    home = "scoreda.assimilation.baselines", "ETKF"
    kind: Literal["etkf"]
    inflation: Positive = 1.0
    rotate: bool = True


class LETKFSettings(GaussianFilter):
    """The local ensemble transform Kalman filter; `radius` is the Gaspari-Cohn half-width in grid points."""

    home = "scoreda.assimilation.baselines", "LETKF"
    kind: Literal["letkf"]
    radius: Positive
    inflation: Positive = 1.0
    rotate: bool = False
    periodic: bool = True


class ThreeDVarSettings(Settings):
    """3D-Var; `scale` times the climatological covariance is that of its forecast."""

    home = "scoreda.assimilation.baselines", "ThreeDVar"
    ingredients = {"climatology": "climatology"}
    kind: Literal["3dvar"]
    scale: Positive = 0.02
    iterations: Count = 10


class FourDVarSettings(Settings):
    """Strong-constraint 4D-Var over `window` observation times."""

    home = "scoreda.assimilation.baselines", "FourDVar"
    ingredients = {"climatology": "climatology"}
    kind: Literal["4dvar"]
    window: Count = 10
    scale: Positive = 0.02
    iterations: Count = 10


class ExtendedKalmanSettings(Settings):
    """The extended Kalman filter."""

    home = "scoreda.assimilation.baselines", "ExtendedKalman"
    kind: Literal["extended_kalman"]
    inflation: Positive = 1.0
    iterations: Count = 1


class EnKFNSettings(Likely):
    """The finite-size ensemble Kalman filter, which needs no inflation."""

    home = "scoreda.assimilation.baselines", "EnKFN"
    kind: Literal["enkf_n"]
    certainty: Positive = 1.0
    rotate: bool = True


class EnKSSettings(Likely):
    """The ensemble Kalman smoother; its analyses are the ETKF's."""

    home = "scoreda.assimilation.baselines", "EnKS"
    kind: Literal["enks"]
    lag: int = Field(default=10, ge=0)
    inflation: Positive = 1.0
    rotate: bool = True


class IEnKSSettings(Likely):
    """The iterative ensemble Kalman smoother; with `lag: 1` the iterative filter."""

    home = "scoreda.assimilation.baselines", "IEnKS"
    kind: Literal["ienks"]
    lag: int = Field(default=1, ge=0)
    inflation: Positive = 1.0
    iterations: Count = 10
    tolerance: Positive = 0.03
    rotate: bool = True
    bundle: Positive | None = None
    multiple: bool = False
    certainty: Positive | None = None


class LocalIEnKSSettings(Likely):
    """The local iterative ensemble Kalman smoother; `drift` moves the tapers, in grid points per time unit."""

    home = "scoreda.assimilation.baselines", "LocalIEnKS"
    kind: Literal["local_ienks"]
    radius: Positive
    lag: int = Field(default=1, ge=0)
    inflation: Positive = 1.0
    drift: float = 0.0
    iterations: Count = 10
    tolerance: Positive = 0.03
    rotate: bool = False
    bundle: Positive = 1e-3
    periodic: bool = True


class CoupledScoreFilterSettings(Settings):
    """The coupled score filter; `learned: 0` leaves the prior out."""

    home = "scoreda.assimilation.score", "CoupledScoreFilter"
    ingredients = {"prior": "prior", "climatology": "climatology"}
    kind: Literal["coupled_score_filter"]
    radius: Positive | None = None
    inflation: Positive = 1.0
    learned: float = Field(default=1.0, ge=0)
    steps: Count = 8
    periodic: bool = True
    climate_radius: Positive | None = None

    def uses(self) -> Mapping[str, str]:
        """Return the ingredients: none if the learned part has no weight."""
        return self.ingredients if self.learned else {}


class Score4DSettings(Settings):
    """Score-4D; `gaussian` puts the climatology's Gaussian in the place of the learned prior."""

    home = "scoreda.assimilation.score", "Score4D"
    ours = Settings.ours | {"gaussian"}
    kind: Literal["score4d"]
    window: Count = 30
    particles: Count = 4
    sigma: Positive = 0.2
    reacquire: Count = 10
    tolerance: Positive = 0.01
    gaussian: bool = False

    def uses(self) -> Mapping[str, str]:
        """Return the prior: learned, or Gaussian."""
        return {"prior": "climatology" if self.gaussian else "prior"}


MethodSection = Annotated[
    FreeRunSettings
    | ClimatologySettings
    | OISettings
    | PersistenceSettings
    | EnKFSettings
    | DEnKFSettings
    | SerialEnSRFSettings
    | RankHistogramSettings
    | BootstrapPFSettings
    | OptimalPFSettings
    | LocalPFSettings
    | ETKFSettings
    | LETKFSettings
    | ThreeDVarSettings
    | FourDVarSettings
    | ExtendedKalmanSettings
    | EnKFNSettings
    | EnKSSettings
    | IEnKSSettings
    | LocalIEnKSSettings
    | CoupledScoreFilterSettings
    | Score4DSettings,
    Field(discriminator="kind"),
]
