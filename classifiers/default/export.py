"""Write a pack: the ONNX step graph, the tokenizer and the manifest.

Run `python -m classifiers.default.export --checkpoint last.pt --encoder DIR --output DIR`, once
without `--calibration` to have a model to score with, and again with it for the pack that ships.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
import yaml

from classifiers.default.architecture import CATEGORIES, ROLE_MARKERS, ROLES, START_TOKEN
from classifiers.default.emoji import load_tokenizer
from classifiers.default.graph import OPSET, Precision, StepGraph
from classifiers.default.model import CausalClassifier, load_checkpoint

VERSION = "2026.11.1"
MOST_BYTES = 30_000_000


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uncalibrated() -> dict[str, Any]:
    """Identity calibration and no operating points, for a model that was not measured yet."""
    return {
        "calibration": {r: {c: {"scale": 1.0, "offset": 0.0} for c in CATEGORIES} for r in ROLES},
        "operating_points": {r: dict.fromkeys(CATEGORIES) for r in ROLES},
    }


def manifest(directory: Path, model: CausalClassifier, measured: dict[str, Any]) -> dict[str, Any]:
    """What the engine reads before it loads anything else."""
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
    return {
        "format": 1,
        "name": "default",
        "version": VERSION,
        "family": "causal",
        "license": "Apache-2.0",
        "languages": ["en"],
        "data": "licence tier A + generated",
        "model": {
            "file": "model.onnx",
            "sha256": sha256(directory / "model.onnx"),
            "opset": OPSET,
        },
        "tokenizer": {"file": "tokenizer.json", "sha256": sha256(directory / "tokenizer.json")},
        "start_token": START_TOKEN,
        "roles": roles,
        "max_positions": model.arch.positions,
        "layers": model.arch.layers,
        "heads": model.arch.heads,
        "head_dim": model.arch.head_dim,
        "categories": list(CATEGORIES),
        "calibration": measured["calibration"],
        "operating_points": points,
    }


def export(
    model: CausalClassifier,
    encoder: Path,
    output: Path,
    precision: Precision,
    measured: dict[str, Any],
) -> None:
    """Write `model.onnx`, `tokenizer.json` and `manifest.yaml` to `output`."""
    output.mkdir(parents=True, exist_ok=True)
    graph = StepGraph(model, precision).build()
    if precision != "int8_fast":  # The checker does not know contrib operators.
        onnx.checker.check_model(graph, full_check=True)
    path = output / "model.onnx"
    onnx.save(graph, str(path))
    if precision != "float" and path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, a pack may have {MOST_BYTES}")
    # The engine adds the start token and the markers itself and never cuts or pads.
    load_tokenizer(encoder).save(str(output / "tokenizer.json"))
    text = yaml.safe_dump(manifest(output, model, measured), sort_keys=False)
    (output / "manifest.yaml").write_text(text, encoding="utf-8")


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="all-MiniLM-L6-v2 directory")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--precision", choices=("float", "int8", "int8_fast"), default="int8")
    args = parser.parse_args()
    measured = uncalibrated()
    if args.calibration:
        measured = json.loads(args.calibration.read_text(encoding="utf-8"))
    model = load_checkpoint(args.checkpoint)
    export(model, args.encoder, args.output, args.precision, measured)


if __name__ == "__main__":
    main()
