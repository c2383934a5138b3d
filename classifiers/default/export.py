"""Write a pack: the ONNX step graphs, the tokenizer and the manifest.

Run `python -m classifiers.default.export --checkpoint last.pt --encoder DIR --output DIR`, once
without `--calibration` to have a model to score with, and again with it for the pack that ships.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from classifiers.default.conversation import Encoder
from classifiers.default.emoji import load_tokenizer
from classifiers.default.graph_float import FloatGraph
from classifiers.default.graph_int8 import Int8Graph
from classifiers.default.manifest import CUDA_MODEL, MODEL, WEIGHTS, manifest, uncalibrated
from classifiers.default.model import CausalClassifier, load_checkpoint
from classifiers.default.ranges import measured_sequences, ranges
from classifiers.default.scales import Scales
from classifiers.default.weights import save

MOST_BYTES = 30_000_000


def export(model: CausalClassifier, encoder: Path, output: Path, measured: dict[str, Any]) -> None:
    """Write the networks (in integers for CPUs, in floats for CUDA), their weights, tokenizer and manifest to `output`."""
    output.mkdir(parents=True, exist_ok=True)
    # The engine adds the start token and the markers itself and never cuts or pads.
    load_tokenizer(encoder).save(str(output / "tokenizer.json"))
    measured_ranges = ranges(model, measured_sequences(Encoder.load(output)))
    scales = Scales(measured_ranges, model.arch)
    save({MODEL: Int8Graph(model, scales).build(), CUDA_MODEL: FloatGraph(model, scales).build()}, output)
    size = sum((output / name).stat().st_size for name in (MODEL, CUDA_MODEL, WEIGHTS))
    if size > MOST_BYTES:
        raise ValueError(f"{output}: {size} bytes of network, a pack may have {MOST_BYTES}")
    text = yaml.safe_dump(manifest(output, model.arch, measured), sort_keys=False)
    (output / "manifest.yaml").write_text(text, encoding="utf-8")


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="all-MiniLM-L6-v2 directory")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--calibration", type=Path)
    args = parser.parse_args()
    measured = uncalibrated()
    if args.calibration:
        measured = json.loads(args.calibration.read_text(encoding="utf-8"))
    model = load_checkpoint(args.checkpoint)
    export(model, args.encoder, args.output, measured)


if __name__ == "__main__":
    main()
