"""Classical assimilation methods, one per file."""

from scoreda.assimilation.baselines.bootstrap_pf import BootstrapPF
from scoreda.assimilation.baselines.climatological import Climatological
from scoreda.assimilation.baselines.denkf import DEnKF
from scoreda.assimilation.baselines.enkf_n import EnKFN
from scoreda.assimilation.baselines.enks import EnKS
from scoreda.assimilation.baselines.etkf import ETKF
from scoreda.assimilation.baselines.extended_kalman import ExtendedKalman
from scoreda.assimilation.baselines.four_d_var import FourDVar
from scoreda.assimilation.baselines.free_run import FreeRun
from scoreda.assimilation.baselines.ienks import IEnKS
from scoreda.assimilation.baselines.inflation import RTPP, RTPS, Adaptive, Inflated, Inflation, Multiplicative
from scoreda.assimilation.baselines.letkf import LETKF
from scoreda.assimilation.baselines.likelihood_aware import LikelihoodAware
from scoreda.assimilation.baselines.local_ienks import LocalIEnKS
from scoreda.assimilation.baselines.local_pf import LocalPF
from scoreda.assimilation.baselines.optimal_interpolation import OptimalInterpolation
from scoreda.assimilation.baselines.optimal_pf import OptimalPF
from scoreda.assimilation.baselines.persistence_forecast import Persistence
from scoreda.assimilation.baselines.rank_histogram_filter import RankHistogramFilter
from scoreda.assimilation.baselines.serial_ensrf import SerialEnSRF
from scoreda.assimilation.baselines.stochastic_enkf import StochasticEnKF
from scoreda.assimilation.baselines.three_d_var import ThreeDVar

__all__ = [
    "EnKFN",
    "EnKS",
    "ExtendedKalman",
    "FourDVar",
    "IEnKS",
    "LikelihoodAware",
    "LocalIEnKS",
    "ThreeDVar",
    "ETKF",
    "LETKF",
    "RTPP",
    "RTPS",
    "Adaptive",
    "BootstrapPF",
    "Climatological",
    "DEnKF",
    "FreeRun",
    "Inflated",
    "Inflation",
    "LocalPF",
    "Multiplicative",
    "OptimalInterpolation",
    "OptimalPF",
    "Persistence",
    "RankHistogramFilter",
    "SerialEnSRF",
    "StochasticEnKF",
]
