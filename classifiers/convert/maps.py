"""What a model's labels say about our categories: maps, of well-known models or of a file, applied to labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from classifiers.convert.errors import ConversionError
from classifiers.convert.source import Source
from guardrail.core.verdicts import Role
from guardrail.policy.taxonomy import CATEGORIES, SEVERITIES

Activation = Literal["sigmoid", "softmax"]
Judged = Literal["user", "assistant"]
Share = Annotated[float, Field(ge=0, le=1)]

KNOWN = Path(__file__).parent / "data" / "maps.yaml"
DEFAULT_POINTS = {1: 0.5, 2: 0.7, 3: 0.9}
"""Operating points of a model that nobody measured."""


class LabelMap(BaseModel):
    """A map as written; its keys are explained in ``data/maps.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str = ""
    names: list[str] = []
    by_labels: bool = False
    labels: dict[str, list[str]]
    activation: Activation | None = None
    levels: dict[str, Share] = {}
    turns: str | dict[str, Any] | None = None
    roles: list[Judged] = ["user", "assistant"]
    operating_points: dict[int, Share] = DEFAULT_POINTS

    @field_validator("labels", mode="before")
    @classmethod
    def _several(cls, labels: Any) -> Any:
        """One category, several, or null."""
        if not isinstance(labels, dict):
            return labels
        strange = [label for label in labels if not isinstance(label, str)]
        if strange:
            raise ValueError(
                f"{strange[0]!r} is no text: labels that YAML reads otherwise (no, yes, 1) need quotes"
            )
        return {
            label: [] if fed is None else [fed] if isinstance(fed, str) else fed
            for label, fed in labels.items()
        }

    @field_validator("labels")
    @classmethod
    def _known(cls, labels: dict[str, list[str]]) -> dict[str, list[str]]:
        for label, fed in labels.items():
            for category in fed:
                if category not in CATEGORIES:
                    raise ValueError(
                        f"{label!r}: no category {category!r}; there are: {', '.join(CATEGORIES)}"
                    )
        return labels

    @field_validator("operating_points")
    @classmethod
    def _points(cls, points: dict[int, float]) -> dict[int, float]:
        if tuple(sorted(points)) != SEVERITIES:
            raise ValueError(f"severities must be 1, 2 and 3, got {sorted(points)}")
        return points

    @property
    def judged(self) -> list[Role]:
        """Whose turns are scored."""
        return [Role(role) for role in self.roles]

    def categories_of(self, labels: Sequence[str]) -> list[tuple[str, ...]]:
        """The categories each of a model's labels counts towards.

        Raises:
            ConversionError: the map lacks some.
        """
        known = {_plain(label): tuple(fed) for label, fed in self.labels.items()}
        missing = [label for label in labels if _plain(label) not in known]
        if missing:
            raise ConversionError(_unmapped(missing, labels))
        return [known[_plain(label)] for label in labels]

    def level_shares(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """How much of a risk each of a model's levels is, [levels, 1].

        Raises:
            ConversionError: the map lacks some.
        """
        known = {_plain(level): share for level, share in self.levels.items()}
        missing = [label for label in labels if _plain(label) not in known]
        if missing:
            raise ConversionError(f"levels: no entry for {missing}; the model has {list(labels)}")
        return np.array([[known[_plain(label)]] for label in labels], np.float32)


def map_for(source: Source, given: str | None, labels: Sequence[str]) -> tuple[str, LabelMap]:
    """The map of a model's labels, and its name.

    Args:
        source: the model.
        given: a file, the name of a known map, or None for the known map that fits.
        labels: those of the model.

    Raises:
        ConversionError: there is none, or it is not a map.
    """
    known = known_maps()
    if given is None:
        for name, each in known.items():
            if _fits(each, source, labels):
                return name, each
        raise ConversionError(_unmapped(labels, labels))
    if given in known:
        return given, known[given]
    found = read_map(Path(given))
    strange = {_plain(label) for label in found.labels} - {_plain(label) for label in labels}
    if strange:
        named = [label for label in found.labels if _plain(label) in strange]
        raise ConversionError(f"{given}: labels: {named} is none of the model's: {list(labels)}")
    return Path(given).name, found


def known_maps() -> Mapping[str, LabelMap]:
    """The maps of well-known models, by name."""
    entries = yaml.safe_load(KNOWN.read_text(encoding="utf-8"))
    return {name: LabelMap.model_validate(entry) for name, entry in entries.items()}


def read_map(path: Path) -> LabelMap:
    """A map of one's own.

    Raises:
        ConversionError: it cannot be read or is none; names file and key.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        known = ", ".join(known_maps())
        raise ConversionError(f"{path} cannot be read: {error}; known maps are: {known}") from error
    try:
        return LabelMap.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConversionError(f"{path}: {key or 'file'}: {first['msg']}") from error


def in_order(fed: Sequence[Sequence[str]]) -> list[str]:
    """The categories that labels feed, in the order in which they are named.

    Raises:
        ConversionError: there are none.
    """
    categories = [name for name in CATEGORIES if any(name in several for several in fed)]
    if not categories:
        raise ConversionError("labels: none counts towards a category; at least one must")
    return categories


def shares(fed: Sequence[Sequence[str]], categories: Sequence[str]) -> NDArray[np.float32]:
    """[labels, categories], 1 where a label counts towards a category."""
    return np.array([[name in several for name in categories] for several in fed], np.float32)


def _fits(candidate: LabelMap, source: Source, labels: Sequence[str]) -> bool:
    if candidate.architecture:
        return candidate.architecture == source.architecture
    known = {_plain(label) for label in candidate.labels}
    if candidate.by_labels and known.issuperset(map(_plain, labels)):
        return True
    return any(fnmatch(name.lower(), pattern) for name in source.names for pattern in candidate.names)


def _plain(label: str) -> str:
    """Without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", label.lower().replace("&", "and"))


def _unmapped(missing: Sequence[str], labels: Sequence[str]) -> str:
    example = yaml.safe_dump({"labels": dict.fromkeys(labels)}, sort_keys=False, allow_unicode=True)
    return (
        f"nothing says what these labels mean: {list(missing)}. Write a file and give it as --categories: each "
        f"label's category ({', '.join(CATEGORIES)}), several, or null\n\n{example}"
    )
