"""The manifest of a pack: what the engine reads before it loads anything else. Nothing here needs torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from classifiers.default.architecture import CATEGORIES, ROLE_MARKERS, ROLES, START_TOKEN, Architecture

VERSION = "2026.11.4"
MODEL, CUDA_MODEL, WEIGHTS = "model.onnx", "model_cuda.onnx", "weights.bin"
OPSET = 21
"""Of the graph's plain operators."""


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uncalibrated() -> dict[str, Any]:
    """Identity calibration and no operating points, for a model that was not measured yet."""
    return {
        "calibration": {r: {c: {"scale": 1.0, "offset": 0.0} for c in CATEGORIES} for r in ROLES},
        "operating_points": {r: dict.fromkeys(CATEGORIES) for r in ROLES},
    }


def manifest(directory: Path, arch: Architecture, measured: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the files in `directory`.

    `measured` is what `calibrate` wrote, or `uncalibrated()`; its severities may be strings, as in JSON.
    """
    points = {
        role: {
            name: {int(level): score for level, score in levels.items()} if levels else None
            for name, levels in measured["operating_points"][role].items()
        }
        for role in ROLES
    }
    roles = {
        role: {"marker": marker, "head": ROLES.index(role) if role in ROLES else None}
        for role, marker in ROLE_MARKERS.items()
    }

    def file(name: str) -> dict[str, Any]:
        return {"file": name, "sha256": sha256(directory / name)}

    return {
        "format": 1,
        "name": "default",
        "version": VERSION,
        "family": "causal",
        "license": "Apache-2.0",
        "languages": ["en"],
        "data": "licence tier A, judged and written for this project",
        "model": file(MODEL) | {"opset": OPSET},
        "cuda_model": file(CUDA_MODEL) | {"opset": OPSET},
        "weights": file(WEIGHTS),
        "tokenizer": file("tokenizer.json"),
        "start_token": START_TOKEN,
        "roles": roles,
        "max_positions": arch.positions,
        "layers": arch.layers,
        "heads": arch.heads,
        "head_dim": arch.head_dim,
        "categories": list(CATEGORIES),
        "calibration": measured["calibration"],
        "operating_points": points,
    }
