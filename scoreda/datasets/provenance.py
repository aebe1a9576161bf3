"""Where a file comes from: the global attributes that every Dataset of scoreda carries, strings and numbers only."""

import hashlib
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any

from scoreda import __version__

__all__ = ["commit", "derived", "history", "provenance", "source", "to_json"]

PACKAGES = ("numpy", "torch", "numba", "xarray")
CHECKOUT = Path(__file__).parents[2]  # where the package lies, if it is not installed elsewhere
TIMEOUT = 5  # seconds that git has to answer


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
        "source": source(),
        "history": history(),
        "scoreda_config": config,
        "scoreda_config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "seed": int(seed),
        "versions": to_json(_versions()),
    }


def derived(attrs: dict[str, Any], title: str) -> dict[str, Any]:
    """Return `attrs` for something computed from their Dataset: a new title and one more line of history."""
    earlier = [attrs["history"]] if "history" in attrs else []
    return attrs | {"title": title, "source": source(), "history": "\n".join([history(), *earlier])}


def source() -> str:
    """Return the package that writes: its version, and its commit if that is known."""
    return f"scoreda {__version__}" + (f", commit {commit()}" if commit() else "")


@cache
def commit(checkout: Path = CHECKOUT) -> str:
    """Return the commit of a checkout, with `-dirty` if files have changed since; nothing if git does not tell.

    It is asked once in a process, whose code is what it was at the start. A package that is installed inside another
    project's checkout has no commit.
    """
    if not (checkout / ".git").exists():
        return ""
    command = ["git", "--no-optional-locks", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


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
