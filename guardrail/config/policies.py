"""Policy files: read, validated against ``policy.rules``, errors with file, line, key and reason."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pydantic

from guardrail.errors import ConfigError
from guardrail.policy import rules
from guardrail.policy.taxonomy import CATEGORIES
from guardrail.yaml_source import YamlSource, read_yaml

DEFAULT_POLICY = Path(__file__).with_name("default_policy.yaml")
"""The policy that ships: one a cautious operator could run."""

_POLICY = pydantic.TypeAdapter(rules.Policy)
_UNKNOWN_KEY = frozenset({"unexpected_keyword_argument", "extra_forbidden"})
_SHAPES = (
    rules.Policy,
    rules.PackRules,
    rules.GateRules,
    rules.CategoryRules,
    rules.RoleRules,
    rules.Timing,
    rules.HoldBackRules,
)


def load_policy(path: Path | None = None) -> rules.Policy:
    """The policy in a file, or the default policy.

    Raises:
        ConfigError: naming file, line, key and reason of the first error, and how many more there are.
    """
    source = read_yaml(path or DEFAULT_POLICY)
    if not isinstance(source.data, dict):
        raise ConfigError(source.name, "", "must be a mapping with version, name and categories")
    categories = source.data.get("categories")
    for name in categories if isinstance(categories, dict) else ():
        if name not in CATEGORIES:
            reason = f"unknown category{_suggestion(str(name), CATEGORIES)}; known: {', '.join(CATEGORIES)}"
            raise ConfigError(source.name, f"categories.{name}", reason, source.line(("categories", name)))
    try:
        return _POLICY.validate_python(_with_entries(source.data))
    except pydantic.ValidationError as error:
        raise _explain(source, error) from error


def _with_entries(data: dict[str, Any]) -> dict[str, Any]:
    """The file's content; where ``packs`` has a bare name, with the entry it stands for."""
    packs = data.get("packs")
    if not isinstance(packs, list):
        return data
    return {**data, "packs": [{"pack": entry} if isinstance(entry, str) else entry for entry in packs]}


def _explain(source: YamlSource, error: pydantic.ValidationError) -> ConfigError:
    problems = error.errors(include_url=False)
    # A mistyped key is also a missing one: say what stands there, not what does not.
    first = min(problems, key=lambda problem: problem["type"] not in _UNKNOWN_KEY)
    path: list[Hashable] = [part for part in first["loc"] if part != "[key]"]
    fault = first.get("ctx", {}).get("error")
    if isinstance(fault, rules.KeyedError):
        path += fault.keys
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    reason = _reason(first["type"], first["msg"], path, first.get("input")) + more
    return ConfigError(source.name, ".".join(map(str, path)), reason, source.line(path))


def _reason(kind: str, message: str, path: Sequence[Hashable], value: object) -> str:
    if kind in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = sorted(
            {field.name for shape in _SHAPES for field in dataclasses.fields(shape)} | set(CATEGORIES)
        )
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        return "unknown key" + (f"; did you mean {close[0]!r}?" if close else "")
    if kind in {"missing", "missing_argument"}:
        return "is missing"
    if kind == "dataclass_type":
        return f"must be a mapping, got {value!r}"
    reason = message.removeprefix("Value error, ")
    if kind.startswith(("literal", "float", "int", "string", "bool", "greater", "less")):
        reason += f", got {value!r}"
    return reason[:1].lower() + reason[1:]


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
