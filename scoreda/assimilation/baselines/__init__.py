"""Classical assimilation methods, one per file."""

from scoreda.assimilation.baselines.climatological import Climatological
from scoreda.assimilation.baselines.etkf import ETKF
from scoreda.assimilation.baselines.free_run import FreeRun
from scoreda.assimilation.baselines.letkf import LETKF
from scoreda.assimilation.baselines.optimal_interpolation import OptimalInterpolation
from scoreda.assimilation.baselines.stochastic_enkf import StochasticEnKF

__all__ = ["ETKF", "LETKF", "Climatological", "FreeRun", "OptimalInterpolation", "StochasticEnKF"]
