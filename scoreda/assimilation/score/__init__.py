"""Filters built on the score of a learned prior."""

from scoreda.assimilation.score.coupled import CoupledScoreFilter
from scoreda.assimilation.score.score4d import Score4D

__all__ = ["CoupledScoreFilter", "Score4D"]
