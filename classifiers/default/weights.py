"""Several graphs, one file of weights: what graphs have in common is stored once, beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data

from classifiers.default.manifest import WEIGHTS

_SMALLEST = 1024
"""Bytes; less stays in the graph, where the runtime can fold it into others."""


def save(graphs: Mapping[str, onnx.ModelProto], directory: Path) -> None:
    """Write `graphs` under their file names, and their large tensors, each once, to `WEIGHTS`.

    The graphs are changed: they lose the tensors.
    """
    places: dict[bytes, int] = {}
    with (directory / WEIGHTS).open("wb") as file:
        for graph in graphs.values():
            for tensor in graph.graph.initializer:
                raw = tensor.raw_data
                if len(raw) < _SMALLEST:
                    continue
                if raw not in places:
                    places[raw] = file.tell()
                    file.write(raw)
                set_external_data(tensor, WEIGHTS, places[raw], len(raw))
                tensor.ClearField("raw_data")
    for name, graph in graphs.items():
        onnx.save(graph, str(directory / name))
