"""What is installed, and what it can run on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from scoreda import __version__
from scoreda.experiments.shipped import shipped_configs

__all__ = ["info"]

PACKAGES = ("torch", "numpy", "scipy", "xarray", "netCDF4", "numba", "matplotlib", "pydantic", "safetensors")


def info() -> str:
    """Return versions, devices, shipped priors and configurations as text."""
    lines = {"scoreda": __version__, "python": platform.python_version(), "processors": str(os.cpu_count())}
    lines |= {package: _version(package) for package in PACKAGES}
    if find_spec("torch"):
        lines |= _torch_lines()
    lines["configurations"] = ", ".join(shipped_configs())
    return "\n".join(f"{name:<15}{text}" for name, text in lines.items())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"missing: pip install {package}"


def _torch_lines() -> dict[str, str]:
    import torch

    from scoreda.diffusion import shipped_priors
    from scoreda.experiments.device import resolve_device

    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {
        "devices": ", ".join(["cpu", *names]),
        "--device auto": resolve_device("auto"),
        "threads": str(torch.get_num_threads()),
        "priors": ", ".join(shipped_priors()) or "none",
    }
