"""The manifest of a converted pack: what both families' have in common. Nothing here needs torch or onnx."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from classifiers.convert.errors import ConversionError
from classifiers.convert.maps import LabelMap
from classifiers.convert.source import Source
from guardrail.core.verdicts import Role

MODEL, TOKENIZER, MANIFEST = "model.onnx", "tokenizer.json", "manifest.yaml"


@dataclass(frozen=True)
class Naming:
    """What whoever converts a model says of the pack; empty: as its source says."""

    name: str = ""
    version: str = "1"
    license: str = ""
    languages: Sequence[str] = ()


def manifest(
    directory: Path,
    source: Source,
    naming: Naming,
    family: str,
    opset: int,
    *,
    weights: Path | None = None,
    **how: str,
) -> dict[str, Any]:
    """Name, origin and files of a pack whose network and tokenizer lie in ``directory``.

    ``how`` it was converted stands with its origin, for people.

    Raises:
        ConversionError: nobody says what the licence is.
    """
    return {
        "format": 1,
        "family": family,
        "name": name_of(source, naming),
        "version": naming.version,
        "license": license_of(source, naming),
        "languages": list(naming.languages or source.languages or ["und"]),
        "origin": {
            "source": source.origin,
            "architecture": source.architecture,
            **({"revision": source.revision} if source.revision else {}),
            **how,
        },
        "data": f"as the authors of {source.origin} say; operating points are defaults that nobody measured",
        "model": {**_file(directory / MODEL), "opset": opset},
        **({} if weights is None else {"weights": _file(weights)}),
        "tokenizer": _file(directory / TOKENIZER),
    }


def license_of(source: Source, naming: Naming) -> str:
    """The licence of the model.

    Raises:
        ConversionError: nobody says what it is.
    """
    found = naming.license or source.license
    if not found:
        raise ConversionError("the model's README.md names no licence: say which it is with --license")
    return found


def name_of(source: Source, naming: Naming) -> str:
    """The pack's name."""
    return naming.name or source.origin.rsplit("/", 1)[-1].lower()


def unmeasured(
    mapping: LabelMap, judged: Mapping[Role, Collection[str]], categories: Sequence[str]
) -> dict[str, Any]:
    """Identity calibration, and the map's operating points.

    Args:
        mapping: where the points stand.
        judged: the categories that each judged role's head knows.
        categories: all of the pack's.
    """
    points = dict(sorted(mapping.operating_points.items()))
    return {
        "calibration": {
            role.value: {name: {"scale": 1.0, "offset": 0.0} for name in categories} for role in judged
        },
        "operating_points": {
            role.value: {name: dict(points) if name in known else None for name in categories}
            for role, known in judged.items()
        },
    }


def write(directory: Path, content: Mapping[str, Any]) -> None:
    """Write ``manifest.yaml``."""
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
