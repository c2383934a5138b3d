"""Packs: a classifier as it lies on disk, found, checked and described.

A pack is a directory with a ``manifest.yaml``, a network and a tokenizer. Everything that can be wrong
with one is found here, before a stream is served, and said as a ``PackError`` naming pack and reason.
This file knows neither runtime nor tokenizer: it hands out paths whose checksums are right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardrail.core.verdicts import Role
from guardrail.errors import PackError

MANIFEST = "manifest.yaml"
FORMAT = 1
FAMILIES = ("causal",)
SEVERITIES = (1, 2, 3)

_PACKAGE = Path(__file__).resolve().parent.parent
SEARCH_PATH = (
    _PACKAGE / "packs",  # an installed wheel
    _PACKAGE.parent / "classifiers" / "packs",  # a checkout
)


@dataclass(frozen=True, slots=True)
class RoleInput:
    """How turns of one role enter the network and which of its heads judges them."""

    marker: str
    """The token that opens a turn of this role."""
    head: int | None
    """Index into the network's heads; None: context, never scored."""


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """``score = sigmoid(scale * logit + offset)``."""

    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class Pack:
    """A checked pack; the paths exist and their checksums are right."""

    directory: Path
    name: str
    version: str
    family: str
    license: str
    model_path: Path
    tokenizer_path: Path
    opset: int
    roles: Mapping[Role, RoleInput]
    start_token: str
    max_positions: int
    """Tokens the network can attend to at once; longer conversations are re-anchored."""
    layers: int
    heads: int
    head_dim: int
    categories: tuple[str, ...]
    """In the order of the network's output."""
    calibration: Mapping[Role, Mapping[str, CalibrationLine]]
    """For every role with a head, every category."""
    operating_points: Mapping[Role, Mapping[str, Mapping[int, float] | None]]
    """Role, category, severity (1 to 3) to the score from which it holds; None: not to be judged."""
    languages: tuple[str, ...]
    data: Any
    """What it was trained on, as the manifest says it; for people."""


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


class _File(BaseModel):
    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]


class _ModelFile(_File):
    opset: int


class _Role(BaseModel):
    marker: str
    head: Annotated[int, Field(ge=0)] | None


class _Line(BaseModel):
    scale: float
    offset: float


_Score = Annotated[float, Field(ge=0, le=1)]
_Size = Annotated[int, Field(gt=0)]


class _Manifest(BaseModel):
    """The file as written; keys this version does not know are left alone."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    format: Literal[1]
    name: str
    version: str
    family: Literal["causal"]
    license: str
    model: _ModelFile
    tokenizer: _File
    roles: dict[Role, _Role]
    start_token: str
    max_positions: Annotated[int, Field(ge=16)]
    layers: _Size
    heads: _Size
    head_dim: _Size
    categories: Annotated[list[str], Field(min_length=1)]
    calibration: dict[Role, dict[str, _Line]]
    operating_points: dict[Role, dict[str, dict[int, _Score] | None]]
    languages: list[str]
    data: Any


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
    if raw.get("family") not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise PackError(where, f"{MANIFEST}: family is {raw.get('family')!r}, this version runs: {known}")
    try:
        manifest = _Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise PackError(where, f"{MANIFEST}: {key}: {first['msg']}") from error
    _check_tables(where, manifest)
    return Pack(
        directory=directory,
        name=manifest.name,
        version=manifest.version,
        family=manifest.family,
        license=manifest.license,
        model_path=_checked_file(directory, manifest.model),
        tokenizer_path=_checked_file(directory, manifest.tokenizer),
        opset=manifest.model.opset,
        roles={role: RoleInput(entry.marker, entry.head) for role, entry in manifest.roles.items()},
        start_token=manifest.start_token,
        max_positions=manifest.max_positions,
        layers=manifest.layers,
        heads=manifest.heads,
        head_dim=manifest.head_dim,
        categories=tuple(manifest.categories),
        calibration={
            role: {name: CalibrationLine(line.scale, line.offset) for name, line in lines.items()}
            for role, lines in manifest.calibration.items()
        },
        operating_points=manifest.operating_points,
        languages=tuple(manifest.languages),
        data=manifest.data,
    )


def _check_tables(where: str, manifest: _Manifest) -> None:
    """Every role is there, and every role with a head has every category in both tables."""
    for role in Role:
        if role not in manifest.roles:
            raise PackError(where, f"{MANIFEST}: roles: no entry for {role.value!r}")
        if manifest.roles[role].head is None:
            continue
        for table_name, table in (
            ("calibration", manifest.calibration),
            ("operating_points", manifest.operating_points),
        ):
            for category in manifest.categories:
                if category not in table.get(role, {}):
                    raise PackError(
                        where, f"{MANIFEST}: {table_name}.{role.value}: no entry for {category!r}"
                    )
        for category, points in manifest.operating_points[role].items():
            if points is not None and tuple(sorted(points)) != SEVERITIES:
                raise PackError(
                    where,
                    f"{MANIFEST}: operating_points.{role.value}.{category}: "
                    f"severities must be 1, 2 and 3, got {sorted(points)}",
                )
    if len(set(manifest.categories)) != len(manifest.categories):
        raise PackError(where, f"{MANIFEST}: categories: a name stands twice")
    markers = [entry.marker for entry in manifest.roles.values()]
    if len({*markers, manifest.start_token}) != len(markers) + 1:
        raise PackError(where, f"{MANIFEST}: roles: markers and start_token must differ from each other")


def _checked_file(directory: Path, entry: _File) -> Path:
    path = directory / entry.file
    if path.resolve().parent != directory.resolve():
        raise PackError(str(directory), f"{entry.file}: a pack's files lie in its own directory")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PackError(str(directory), f"{entry.file} cannot be read: {error.strerror}") from error
    if digest != entry.sha256.lower():
        raise PackError(
            str(directory), f"{entry.file}: checksum is {digest[:12]}..., not {entry.sha256[:12]}..."
        )
    return path
