"""Likelihood guidance: denoisers of p(x | x_t, y) that wrap a denoiser of p(x | x_t). One paper, one file."""

from scoreda.diffusion.guidance.moment_matching import MomentMatching

__all__ = ["MomentMatching"]
