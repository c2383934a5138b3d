"""Packs: a classifier as it lies on disk, found, checked and described.

A pack is a directory with a ``manifest.yaml``, and a network and a tokenizer or patterns. Everything that can be wrong
with one is found here, before a stream is served, and said as a ``PackError`` naming pack and reason.
This file knows where packs lie and which family reads which manifest; ``manifest`` and its relatives know
what stands in one. Neither knows runtime or tokenizer: they hand out paths whose checksums are right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from guardrail.engine.manifest import FORMAT, MANIFEST, CalibrationLine, Pack
from guardrail.engine.manifest_causal import read_causal
from guardrail.engine.manifest_lexical import read_lexical
from guardrail.engine.manifest_window import read_window
from guardrail.errors import PackError

__all__ = ["FAMILIES", "SEARCH_PATH", "CalibrationLine", "Pack", "available_packs", "load_pack"]

FAMILIES: Mapping[str, Callable[[Path, Mapping[str, Any]], Pack]] = {
    "causal": read_causal,
    "lexical": read_lexical,
    "window": read_window,
}

_PACKAGE = Path(__file__).resolve().parent.parent
SEARCH_PATH = (
    _PACKAGE / "packs",  # an installed wheel
    _PACKAGE.parent / "classifiers" / "packs",  # a checkout
)


def load_pack(name_or_directory: str | Path) -> Pack:
    """Find, read and check a pack.

    Args:
        name_or_directory: a directory that holds a manifest, or the name of a pack that is installed
            with the package or lies in ``classifiers/packs`` of a checkout.

    Raises:
        PackError: there is none, a file is missing or has the wrong checksum, or the manifest is not
            one this version can use.
    """
    return _read(_find(name_or_directory))


def available_packs() -> Mapping[str, Path]:
    """Names of the packs that can be loaded by name, with their directories; unchecked."""
    found: dict[str, Path] = {}
    for place in SEARCH_PATH:
        for manifest in sorted(place.glob(f"*/{MANIFEST}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found


def _find(name_or_directory: str | Path) -> Path:
    given = Path(name_or_directory)
    if (given / MANIFEST).is_file():
        return given
    # A bare name must not escape the search path.
    if len(given.parts) == 1 and given.name not in {"", ".", ".."}:
        for place in SEARCH_PATH:
            if (place / given / MANIFEST).is_file():
                return place / given
    known = ", ".join(available_packs()) or "none"
    raise PackError(str(name_or_directory), f"no {MANIFEST} there and no pack of that name (known: {known})")


def _read(directory: Path) -> Pack:
    where = str(directory)
    try:
        raw = yaml.safe_load((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PackError(where, f"{MANIFEST} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise PackError(where, f"{MANIFEST} is not a mapping")
    # Before the rest: another format has other keys, and its own name is the most useful answer.
    if raw.get("format") != FORMAT:
        raise PackError(where, f"{MANIFEST}: format is {raw.get('format')!r}, this version reads {FORMAT}")
    family = raw.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise PackError(where, f"{MANIFEST}: family is {family!r}, this version runs: {known}")
    return FAMILIES[family](directory, raw)
