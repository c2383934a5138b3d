"""YAML files that can say where each value stands, so that an error can name file, line and key.

Keys given twice are refused: YAML readers keep the last one silently, and that is a rule of a policy lost, or
a crisis number.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from guardrail.errors import ConfigError


@dataclass(frozen=True, slots=True)
class YamlSource:
    """A parsed YAML document and the lines its keys stand on."""

    name: str
    """The file's name as the operator gave it."""
    data: Any
    _lines: dict[tuple[Hashable, ...], int]

    def line(self, path: Sequence[Hashable]) -> int | None:
        """1-based line of the longest known prefix of a key path."""
        for size in range(len(path), 0, -1):
            line = self._lines.get(tuple(path[:size]))
            if line is not None:
                return line
        return None


def read_yaml(path: Path | Traversable) -> YamlSource:
    """Read one YAML document, an operator's file or one of ours.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or gives a key twice.
    """
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(name, "", error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(name, "", f"is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        data, lines = _parse(name, text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or "is not YAML"
        raise ConfigError(name, "", str(reason), mark.line + 1 if mark else None) from error
    except ValueError as error:  # a value that looks like a date or a number and is none
        raise ConfigError(name, "", f"holds a value that cannot be read: {error}") from error
    except RecursionError as error:
        raise ConfigError(name, "", "is nested too deeply, or refers to itself") from error
    return YamlSource(name, data, lines)


def _parse(name: str, text: str) -> tuple[Any, dict[tuple[Hashable, ...], int]]:
    """The document's value and the lines of its keys, from one reading."""
    loader = yaml.SafeLoader(text)
    lines: dict[tuple[Hashable, ...], int] = {}
    try:
        node = loader.get_single_node()
        if node is None:
            return None, lines
        _walk(name, node, (), lines)
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def _walk(
    name: str, node: yaml.Node, path: tuple[Hashable, ...], lines: dict[tuple[Hashable, ...], int]
) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key_node, value_node in node.value:
            key: Hashable = (
                yaml.safe_load(key_node.value) if key_node.tag.endswith(":int") else key_node.value
            )
            line = key_node.start_mark.line + 1
            if key in seen:
                raise ConfigError(name, ".".join(map(str, (*path, key))), "is given twice", line)
            seen.add(key)
            lines[(*path, key)] = line
            _walk(name, value_node, (*path, key), lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*path, number)] = item.start_mark.line + 1
            _walk(name, item, (*path, number), lines)
