"""The denoiser that a training starts from, as its settings ask for."""

import math
from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from scoreda.diffusion.denoisers import LearnedDenoiser

__all__ = ["make_denoiser", "make_network"]

Settings = Mapping[str, Any]
Shape = tuple[int | None, ...]


def make_denoiser(settings: Settings, shape: Shape = (1,)) -> "LearnedDenoiser":
    """Return a freshly initialised denoiser; the global random state of torch stays as it was.

    Args:
        settings: A resolved `Training` configuration.
        shape: Channels and points of space of a sample, of which the network takes what it needs.
    """
    from scoreda.diffusion.denoisers import denoiser_from_spec
    from scoreda.diffusion.schedules import schedule_from_spec

    spec = dict(settings["denoiser"])
    if spec["name"] != "karras":
        spec |= dict(name="target", target=spec["name"])
    network = make_network(settings["network"], settings["train"]["seed"], shape)
    return denoiser_from_spec(spec, network, schedule_from_spec(settings["schedule"]))


def make_network(settings: Settings, seed: int, shape: Shape = (1,)) -> "nn.Module":
    """Return a freshly initialised network for samples of a shape; the global random state stays as it was."""
    import torch

    from scoreda.diffusion.networks import NETWORKS, network_from_spec

    kind, spec = NETWORKS[settings["name"]], dict(settings)
    if "channels" in signature(kind).parameters:
        points = shape if kind.dimensions == 0 else shape[:1]
        spec["channels"] = math.prod(number or 1 for number in points)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network_from_spec(spec)
