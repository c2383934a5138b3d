"""Reading the YAML files of this part, shipped or written by an operator, into validated records.

What is wrong with a file is said with its name, key and line (invariant 9). A key written twice is
refused: YAML would silently keep the last, and a crisis number that loses that way is not noticed.
This file knows no record: the caller brings the model.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.errors import ConfigError

Source = Path | Traversable


class Record(BaseModel):
    """A part of a file: unknown keys are refused, nothing is coerced, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


RecordT = TypeVar("RecordT", bound=Record)


class _Loader(yaml.SafeLoader):
    """The safe loader, refusing a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the base class says it better
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_mapping(source: Source) -> dict[str, Any]:
    """The mapping in the YAML file ``source``.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or does not hold a mapping.
    """
    try:
        document = yaml.load(source.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(source), "", f"cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(str(source), "", f"not valid YAML: {error.problem}", line) from error
    except yaml.YAMLError as error:
        raise ConfigError(str(source), "", f"not valid YAML: {error}") from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigError(str(source), "", "must hold a mapping with words as keys")
    return document


def validate(model: type[RecordT], data: Mapping[str, Any], source: Source | str, key: str) -> RecordT:
    """``data`` as a ``model``.

    Raises:
        ConfigError: naming ``source``, the first key that is wrong (below ``key``) and why.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(part for part in (key, *(str(step) for step in first["loc"])) if part)
        reason = "is missing" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            reason = "is not a key known here"
        raise ConfigError(str(source), path, reason) from error
