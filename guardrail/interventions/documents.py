"""Reading the YAML files of this part, shipped or written by an operator, into validated records.

What is wrong with a file is said with its name and key (invariant 9). This file knows no record: the
caller brings the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.errors import ConfigError
from guardrail.yaml_source import read_yaml

Source = Path | Traversable


class Record(BaseModel):
    """A part of a file: unknown keys are refused, nothing is coerced, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


RecordT = TypeVar("RecordT", bound=Record)


def read_mapping(source: Source) -> dict[str, Any]:
    """The mapping in the YAML file ``source``.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or does not hold a mapping.
    """
    document = read_yaml(source)
    if not isinstance(document.data, dict) or not all(isinstance(key, str) for key in document.data):
        raise ConfigError(document.name, "", "must hold a mapping with words as keys")
    return document.data


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
