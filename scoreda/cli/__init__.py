"""The command line. Every command loads what it needs when it runs, so that help and errors come at once."""

from scoreda.cli.main import main

__all__ = ["main"]
