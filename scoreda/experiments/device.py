"""Where networks run."""

import re

from scoreda.errors import ScoredaError

__all__ = ["resolve_device"]


def resolve_device(name: str = "auto") -> str:
    """Return a torch device name: `name` itself if it can be used, or the best there is for `"auto"`.

    Raises:
        ScoredaError: if the name is not `auto`, `cpu`, `cuda`, `cuda:<k>` or `mps`, or this machine lacks the device.
    """
    import torch

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", name):
        raise ScoredaError(f"unknown device '{name}'. Use auto, cpu, cuda, cuda:1 or mps.")
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if devices else "cpu"
    kind, _, index = name.partition(":")
    if kind == "cuda" and int(index or 0) >= devices:
        raise ScoredaError(
            f"device '{name}' is not there: torch {torch.__version__} sees {devices} CUDA devices. "
            "Use --device cpu or auto, or install a CUDA build of torch."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ScoredaError(f"device 'mps' is not there: torch {torch.__version__} sees none. Use --device cpu.")
    return name
