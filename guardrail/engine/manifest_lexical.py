"""The manifest of family ``lexical``: patterns, whose turns they read, and which scores count as what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from guardrail.core.verdicts import Role
from guardrail.engine.manifest import File, Manifest, Pack, check_roles, checked_file, common, parsed, refusal
from guardrail.engine.patterns import Pattern, read_patterns


@dataclass(frozen=True, slots=True)
class LexicalPack(Pack):
    """A checked pack of family ``lexical``."""

    patterns: tuple[Pattern, ...]
    """In order of precedence."""


class _LexicalManifest(Manifest):
    patterns: File
    roles: dict[Role, bool]
    categories: Annotated[list[str], Field(min_length=1)]


def read_lexical(directory: Path, raw: Mapping[str, Any]) -> LexicalPack:
    """A pack of family ``lexical`` from its manifest.

    Raises:
        PackError: it is not one this version can use.
    """
    manifest = parsed(directory, raw, _LexicalManifest)
    check_roles(directory, manifest.roles)
    patterns = read_patterns(directory, checked_file(directory, manifest.patterns))
    if len(set(manifest.categories)) != len(manifest.categories):
        raise refusal(directory, "categories", "a name stands twice")
    found = {pattern.category for pattern in patterns}
    for category in sorted(found.symmetric_difference(manifest.categories)):
        reason = "is found by a pattern but not listed" if category in found else "is found by no pattern"
        raise refusal(directory, "categories", f"{category!r} {reason}")
    judged = [role for role, is_judged in manifest.roles.items() if is_judged]
    return LexicalPack(**common(directory, manifest, manifest.categories, judged), patterns=tuple(patterns))
