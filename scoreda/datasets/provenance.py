"""Where a file comes from: the global attributes that every Dataset of scoreda carries, strings and numbers only."""

import hashlib
import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any

from scoreda import __version__

__all__ = ["derived", "history", "provenance", "to_json"]

PACKAGES = ("numpy", "torch", "numba", "xarray")


def to_json(spec: Any) -> str:
    """Return `spec` as one line of JSON with sorted keys; NumPy numbers and arrays become plain ones."""
    return json.dumps(spec, sort_keys=True, default=lambda value: value.tolist())


def provenance(title: str, seed: int, **specs: Any) -> dict[str, str | int]:
    """Return CF and ACDD attributes: conventions, title, source, history, configuration with its hash, seed, versions.

    Args:
        title: What the file holds.
        seed: Seed of the one SeedSequence behind the file.
        specs: Settings that rebuild the content; they become `scoreda_config`.
    """
    config = to_json(specs)
    return {
        "Conventions": "CF-1.11",
        "title": title,
        "source": f"scoreda {__version__}",
        "history": history(),
        "scoreda_config": config,
        "scoreda_config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "seed": int(seed),
        "versions": to_json(_versions()),
    }


def derived(attrs: dict[str, Any], title: str) -> dict[str, Any]:
    """Return `attrs` for something computed from their Dataset: a new title and one more line of history."""
    earlier = [attrs["history"]] if "history" in attrs else []
    return attrs | {"title": title, "source": f"scoreda {__version__}", "history": "\n".join([history(), *earlier])}


def history() -> str:
    """Return the time (UTC) and the command line, with folders of this machine cut off."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {' '.join(map(_portable, sys.argv))}"


def _portable(argument: str) -> str:
    """Cut an absolute path, alone or after `=`, to its last part."""
    return "=".join(PurePath(part).name if PurePath(part).is_absolute() else part for part in argument.split("="))


def _versions() -> dict[str, str]:
    """Return versions from the packages' metadata, so that nothing is imported for it."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
