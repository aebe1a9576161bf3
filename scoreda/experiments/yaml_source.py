"""YAML files read so that every later complaint can name its file and line, and `key.sub=value` overrides."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scoreda.errors import ScoredaError

__all__ = ["Key", "Source", "dump", "read_source"]

Key = tuple[str | int, ...]


class Loader(yaml.SafeLoader):
    """The safe loader, with `1e-3` a number (YAML 1.1 wants `1.0e-3`)."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


@dataclass(frozen=True)
class Source:
    """A YAML mapping that knows where its keys stand.

    Attributes:
        path: As the user wrote it; shown in messages.
        data: The content, overrides applied.
        lines: Line number of every key, counted from 1.
        overridden: Keys given on the command line.
    """

    path: str
    data: dict[str, Any]
    lines: dict[Key, int]
    overridden: list[Key] = field(default_factory=list)

    def place(self, key: Key) -> str:
        """Return `file:line` of `key`, or of its nearest parent; "command line" if it was given there."""
        inside = any(key[: len(given)] == given for given in self.overridden)
        made = key not in self.lines and any(given[: len(key)] == key for given in self.overridden)
        if key and (inside or made):
            return "command line"
        return f"{self.path}:{self.line(key)}"

    def line(self, key: Key) -> int:
        """Return the line of `key`, or of its nearest parent."""
        parents = (key[:n] for n in range(len(key), 0, -1))
        return next((self.lines[parent] for parent in parents if parent in self.lines), 1)


def read_source(path: Path | str, overrides: Sequence[str] = ()) -> Source:
    """Read a YAML mapping and apply `key.sub=value` overrides.

    Raises:
        ScoredaError: if the file is missing, is not YAML, holds no mapping or a key twice; or an override is malformed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScoredaError(f"{path}: cannot be read ({error}). Give the path of a YAML file.") from error
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        data = loader.construct_document(root) if root else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ScoredaError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}.") from error
    if not isinstance(data, dict):
        raise ScoredaError(f"{path}:1: must hold keys and values (`name: ...`), got {type(data).__name__}.")
    source = Source(str(path), data, _lines(str(path), root) if root else {})
    for override in overrides:
        source.overridden.append(_apply(source.data, override))
    return source


def dump(data: dict[str, Any]) -> str:
    """Return `data` as YAML, keys in the order given."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def _lines(path: str, root: yaml.Node) -> dict[Key, int]:
    lines: dict[Key, int] = {}
    for key, line in _walk(root, ()):
        if key in lines:
            raise ScoredaError(f"{path}:{line}: {'.'.join(map(str, key))}: given twice, first in line {lines[key]}.")
        lines[key] = line
    return lines


def _walk(node: yaml.Node, key: Key) -> Iterator[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield (*key, name.value), name.start_mark.line + 1
            yield from _walk(value, (*key, name.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*key, index), value.start_mark.line + 1
            yield from _walk(value, (*key, index))


def _apply(data: dict[str, Any], override: str) -> Key:
    """Set the key that `a.b=value` names, and return it; the value is read as YAML."""
    name, equals, text = override.partition("=")
    key = tuple(name.split("."))
    if not equals or not all(key):
        raise ScoredaError(f"command line: '{override}' is not an override. Write key.sub=value, without spaces.")
    try:
        value = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ScoredaError(f"command line: {name}: '{text}' is not valid YAML.") from error
    for depth, part in enumerate(key[:-1]):
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise ScoredaError(
                f"command line: {name}: '{'.'.join(key[: depth + 1])}' holds no keys, so none can be set."
            )
    data[key[-1]] = value
    return key
