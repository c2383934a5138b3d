"""What the manifests of all families have in common: the shape of a ``Pack``, and the checks on it.

A family's own keys are read in ``manifest_causal``, ``manifest_window`` and ``manifest_lexical``; ``pack``
finds packs and knows which family reads which. Nothing here knows runtime or tokenizer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardrail.core.verdicts import Role
from guardrail.errors import PackError

MANIFEST = "manifest.yaml"
FORMAT = 1
SEVERITIES = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """``score = sigmoid(scale * logit + offset)``."""

    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class Pack:
    """A checked pack; the paths exist and their checksums are right. A family's pack adds its own."""

    directory: Path
    name: str
    version: str
    family: str
    license: str
    categories: tuple[str, ...]
    """What it scores."""
    judged: frozenset[Role]
    """Whose turns are scored."""
    operating_points: Mapping[Role, Mapping[str, Mapping[int, float] | None]]
    """Role, category, severity (1 to 3) to the score from which it holds; None: not to be judged."""
    languages: tuple[str, ...]
    data: Any
    """What it was trained on or made from, as the manifest says it; for people."""


@dataclass(frozen=True, slots=True)
class NetworkPack(Pack):
    """A pack of a family that runs a network; its categories stand in the order of a score's logits."""

    model_path: Path
    cuda_model_path: Path
    """The same network as CUDA runs it best; often the same file."""
    tokenizer_path: Path
    opset: int
    calibration: Mapping[Role, Mapping[str, CalibrationLine]]
    """For every role that is judged, every category."""


class File(BaseModel):
    """A file of the pack."""

    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]


class ModelFile(File):
    """A network's file."""

    opset: int


class Line(BaseModel):
    """A line of the calibration."""

    scale: float
    offset: float


Score = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[int, Field(gt=0)]


class Manifest(BaseModel):
    """The file as written; keys this version does not know are left alone."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    format: Literal[1]
    name: str
    version: str
    family: str
    license: str
    operating_points: dict[Role, dict[str, dict[int, Score] | None]]
    languages: list[str]
    data: Any


class NetworkManifest(Manifest):
    """That of a family that runs a network."""

    model: ModelFile
    cuda_model: ModelFile | None = None
    """The network in another arithmetic, to be run on CUDA."""
    weights: File | None = None
    """External data of the networks."""
    tokenizer: File
    calibration: dict[Role, dict[str, Line]]


M = TypeVar("M", bound=Manifest)


def refusal(directory: Path, key: str, reason: str) -> PackError:
    """What is said of a manifest that cannot be used."""
    return PackError(str(directory), f"{MANIFEST}: {key}: {reason}")


def parsed(directory: Path, raw: Mapping[str, Any], shape: type[M]) -> M:
    """The manifest in its family's shape.

    Raises:
        PackError: a key is missing or of the wrong kind.
    """
    try:
        return shape.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise refusal(directory, key, first["msg"]) from error


def common(
    directory: Path, manifest: Manifest, categories: Sequence[str], judged: Collection[Role]
) -> dict[str, Any]:
    """The fields that every ``Pack`` has, checked.

    Raises:
        PackError: the table of operating points lacks an entry.
    """
    if not judged:
        raise refusal(directory, "roles", "none of them is judged")
    for role in (role for role in Role if role in judged):
        _check_entries(directory, "operating_points", manifest.operating_points, role, categories)
        for category, points in manifest.operating_points[role].items():
            if points is not None and tuple(sorted(points)) != SEVERITIES:
                raise refusal(
                    directory,
                    f"operating_points.{role.value}.{category}",
                    f"severities must be 1, 2 and 3, got {sorted(points)}",
                )
    return {
        "directory": directory,
        "name": manifest.name,
        "version": manifest.version,
        "family": manifest.family,
        "license": manifest.license,
        "categories": tuple(categories),
        "judged": frozenset(judged),
        "operating_points": manifest.operating_points,
        "languages": tuple(manifest.languages),
        "data": manifest.data,
    }


def of_network(
    directory: Path, manifest: NetworkManifest, categories: Sequence[str], judged: Collection[Role]
) -> dict[str, Any]:
    """The fields that every ``NetworkPack`` has, checked; files and tables included.

    Raises:
        PackError: a table lacks an entry, or a file is missing or not the one the manifest means.
    """
    for role in (role for role in Role if role in judged):
        _check_entries(directory, "calibration", manifest.calibration, role, categories)
    if manifest.weights is not None:
        checked_file(directory, manifest.weights)
    return {
        **common(directory, manifest, categories, judged),
        "model_path": checked_file(directory, manifest.model),
        "cuda_model_path": checked_file(directory, manifest.cuda_model or manifest.model),
        "tokenizer_path": checked_file(directory, manifest.tokenizer),
        "opset": manifest.model.opset,
        "calibration": {
            role: {name: CalibrationLine(line.scale, line.offset) for name, line in lines.items()}
            for role, lines in manifest.calibration.items()
        },
    }


def check_roles(directory: Path, roles: Collection[Role]) -> None:
    """Refuse a manifest that says nothing about one of the roles."""
    for role in Role:
        if role not in roles:
            raise refusal(directory, "roles", f"no entry for {role.value!r}")


def _check_entries(
    directory: Path, key: str, table: Mapping[Role, Mapping[str, Any]], role: Role, categories: Sequence[str]
) -> None:
    for category in categories:
        if category not in table.get(role, {}):
            raise refusal(directory, f"{key}.{role.value}", f"no entry for {category!r}")


def checked_file(directory: Path, entry: File) -> Path:
    """Where a file of the pack lies.

    Raises:
        PackError: it is missing, elsewhere, or not the one the manifest means.
    """
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
