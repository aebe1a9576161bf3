"""Where networks run."""

import re

from scoreda.errors import ScoredaError

__all__ = ["resolve_device"]


def resolve_device(name: str = "auto") -> str:
    """Return a torch device name: `name` itself if it can be used, or the best there is for `"auto"`.

    Raises:
        ScoredaError: if the name is not `auto`, `cpu`, `cuda` or `cuda:<k>`, or this machine lacks the device.
    """
    import torch

    # Not mps, which lacks the double precision that analyses are computed in.
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ScoredaError(f"unknown device '{name}'. Use auto, cpu, cuda or cuda:1.")
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if devices else "cpu"
    kind, _, index = name.partition(":")
    if kind == "cuda" and int(index or 0) >= devices:
        raise ScoredaError(
            f"device '{name}' is not there: torch {torch.__version__} sees {devices} CUDA devices. "
            "Use --device cpu or auto, or install a CUDA build of torch."
        )
    return name
