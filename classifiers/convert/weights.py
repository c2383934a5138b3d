"""The tensors of a checkpoint in the safetensors format, as float32, one at a time, without a framework.

A file is eight bytes of length (little-endian), a JSON header of that length (name to type, shape and place) and the
numbers (https://github.com/huggingface/safetensors#format). bfloat16, in which most checkpoints come, is the
upper half of float32; numpy has no type for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.convert.errors import ConversionError

Array = NDArray[np.float32]

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Weights:
    """The tensors of a model's folder, by name.

    Args:
        directory: holds ``model.safetensors``, or ``model.safetensors.index.json`` and the files it names.

    Raises:
        ConversionError: it holds neither.
    """

    def __init__(self, directory: Path) -> None:
        self._places: dict[str, tuple[Path, int, Mapping[str, Any]]] = {}
        for file in _files(directory):
            start, header = _header(file)
            for name, entry in header.items():
                if name != "__metadata__":
                    self._places[name] = (file, start, entry)

    @property
    def names(self) -> frozenset[str]:
        """All tensors."""
        return frozenset(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> Array:
        """The tensor, read now.

        Raises:
            ConversionError: there is none of that name, or it is not made of floats.
        """
        if name not in self._places:
            raise ConversionError(f"the checkpoint has no tensor {name!r}")
        file, start, entry = self._places[name]
        if entry["dtype"] not in _TYPES:
            raise ConversionError(
                f"{file.name}: {name} is of type {entry['dtype']}; quantised checkpoints cannot be converted"
            )
        begin, end = entry["data_offsets"]
        with file.open("rb") as opened:
            opened.seek(start + begin)
            raw = opened.read(end - begin)
        if len(raw) < end - begin:
            raise ConversionError(f"{file.name}: ends before {name} does; was it copied whole?")
        numbers = np.frombuffer(raw, _TYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers.astype(np.float32).reshape(entry["shape"])

    def optional(self, name: str) -> Array | None:
        """The tensor, or None where there is none of that name."""
        return self[name] if name in self._places else None


def _files(directory: Path) -> list[Path]:
    if (directory / ONE_FILE).is_file():
        return [directory / ONE_FILE]
    if (directory / INDEX).is_file():
        index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        return sorted({directory / str(name) for name in index["weight_map"].values()})
    raise ConversionError(f"{directory}: no {ONE_FILE} and no {INDEX}")


def _header(file: Path) -> tuple[int, dict[str, Any]]:
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > file.stat().st_size:
                raise ConversionError(f"{file}: not a safetensors file")
            return 8 + length, json.loads(opened.read(length))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{file}: not a safetensors file: {error}") from error
