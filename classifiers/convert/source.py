"""The model somebody brings: a folder in the hub's layout, or the id of one on the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from classifiers.convert.errors import ConversionError

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
_WANTED = ["*.json", "*.safetensors", "README.md", "LICENSE*", "*.model", "*.txt"]
"""Of a hub's repository; what else it holds is other formats of the same weights."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Source:
    """A model at hand."""

    directory: Path
    origin: str
    """The hub id, or the folder's name."""
    revision: str
    """The commit on the hub; empty for a folder."""
    config: Mapping[str, Any]
    license: str
    """As its README's front matter says; empty where it says nothing."""
    languages: Sequence[str]
    """Likewise."""

    @property
    def architecture(self) -> str:
        """The class it was saved from."""
        return str((self.config.get("architectures") or [""])[0])

    @property
    def names(self) -> list[str]:
        """What it may be known by."""
        return [self.origin, str(self.config.get("_name_or_path") or "")]

    @property
    def labels(self) -> list[str]:
        """The labels of its head, in order; those a bare config implies where it names none."""
        named = self.config.get("id2label")
        if named:
            return [str(named[key]) for key in sorted(named, key=int)]
        return [f"LABEL_{index}" for index in range(int(self.config.get("num_labels") or 2))]


def find(source: str, revision: str | None = None) -> Source:
    """The model ``source`` names.

    Args:
        source: a folder, or a hub id (``owner/name``).
        revision: branch, tag or commit on the hub.

    Raises:
        ConversionError: there is none, it cannot be fetched, or its files are not the hub's layout.
    """
    folder = Path(source)
    if folder.is_dir():
        return _read(folder, folder.resolve().name, "")
    if not _HUB_ID.fullmatch(source):
        raise ConversionError(f"{source}: neither a folder nor a hub id (owner/name)")
    directory = _fetch(source, revision)
    return _read(directory, source, directory.name)


def _fetch(hub_id: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - a folder needs no hub
    except ImportError as error:
        raise ConversionError(
            f"{hub_id}: no folder of that name, and to fetch it from the hub huggingface_hub is needed: "
            "pip install 'guardrail[convert]'"
        ) from error
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=_WANTED))
    except Exception as error:  # the library raises those of its HTTP client, too
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ConversionError(
            f"{hub_id}: cannot be fetched from the hub ({type(error).__name__}: {first}). Without a network, copy "
            f"the model's folder ({CONFIG}, model.safetensors, {TOKENIZER}) here and name that; models behind a "
            "licence need HF_TOKEN"
        ) from error


def _read(directory: Path, origin: str, revision: str) -> Source:
    for name in (CONFIG, TOKENIZER):
        if not (directory / name).is_file():
            hint = ""
            if name == TOKENIZER:
                hint = "; AutoTokenizer.from_pretrained(...).save_pretrained(...) of transformers writes it"
            raise ConversionError(f"{directory}: no {name}{hint}")
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{directory / CONFIG}: not JSON: {error}") from error
    front = _front_matter(directory / "README.md")
    languages = front.get("language") or []
    return Source(
        directory,
        origin,
        revision,
        config,
        str(front.get("license_name") or front.get("license") or ""),
        [languages] if isinstance(languages, str) else [str(each) for each in languages],
    )


def _front_matter(readme: Path) -> Mapping[str, Any]:
    """The YAML at the head of a model card; nothing where there is none, or none that can be read."""
    if not readme.is_file():
        return {}
    found = re.match(r"---\n(.*?)\n---", readme.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        front = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError:
        return {}
    return front if isinstance(front, dict) else {}
