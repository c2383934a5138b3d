"""Check that the shipped graph says what the trained network says, and time it.

Run `python -m classifiers.default.parity --checkpoint last.pt --pack DIR`. Compares, on this
project's own conversations: PyTorch against the pack; whole texts against one token at a time and
against random pieces beside other lanes. Scores here are uncalibrated sigmoids of the logits.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers.default.conversation import Encoder
from classifiers.default.model import load_checkpoint
from classifiers.default.ranges import sequences
from classifiers.default.scoring import PackModel

Floats = NDArray[np.float32]

SHAPES = (("one lane, 1 token", 1, 1, 128), ("32 lanes, 1 token", 32, 1, 128),
          ("32 lanes, 8 tokens", 32, 8, 128), ("bulk, 8 texts of 128", 8, 128, 0))  # fmt: skip
"""Name, lanes, new tokens a lane, past tokens a lane."""


def probability(logits: Floats) -> Floats:
    """Logistic function."""
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)


def in_pieces(model: PackModel, texts: list[list[int]], rng: np.random.Generator, most: int) -> list[Floats]:
    """Score all texts side by side, each in pieces of 1 to `most` tokens, over padded state."""
    lanes, room = len(texts), max(map(len, texts))
    # What lies beyond a lane's length must not matter: fill it with noise.
    keys, values = model.geometry.keys(room, lanes), model.geometry.values(room, lanes)
    for state in (keys, values):
        state[...] = rng.integers(-60, 60, state.shape)
    done = [0] * lanes
    out: list[list[Floats]] = [[] for _ in texts]
    while any(at < len(text) for at, text in zip(done, texts, strict=True)):
        left = [i for i, text in enumerate(texts) if done[i] < len(text)]
        fed = [texts[i][done[i] : done[i] + int(rng.integers(1, most + 1))] for i in left]
        given = model.step(fed, [done[i] for i in left], keys[:, left], values[:, left])
        for i, logits, new_keys, new_values in zip(left, *given, strict=True):
            some = slice(done[i], done[i] + len(logits))
            out[i].append(logits)
            keys[:, i, ..., some] = new_keys.transpose(0, 2, 3, 1)
            values[:, i, :, some] = new_values.transpose(0, 2, 1, 3)
            done[i] = some.stop
    return [np.concatenate(parts) for parts in out]


def tokens_a_second(model: PackModel, lanes: int, new: int, past: int, seconds: float) -> float:
    """Rate of steps of one shape."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1000, 20000, (lanes, new)).tolist()
    keys, values = model.geometry.keys(max(past, 1), lanes), model.geometry.values(max(past, 1), lanes)
    for _ in range(3):
        model.step(ids, [past] * lanes, keys, values)
    begun, steps = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        model.step(ids, [past] * lanes, keys, values)
        steps += 1
    return steps * lanes * new / (time.monotonic() - begun)


def main() -> None:
    """Compare and time from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--output", type=Path, help="also write what is printed there")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    network, model = load_checkpoint(args.checkpoint), PackModel(args.pack / "model.onnx", args.threads)
    texts = sequences(Encoder.load(args.pack), 24)
    rng = np.random.default_rng(1)
    with torch.no_grad():
        framework = [probability(network(torch.tensor([t]))[0].numpy()) for t in texts]
    alone = [probability(model.whole([t])[0]) for t in texts]
    batch = model.whole(texts)
    together = [probability(logits) for logits in batch]
    pairs = {
        "pack, PyTorch": zip(alone, framework, strict=True),
        "alone, in a batch": zip(alone, together, strict=True),
        "whole, one token at a time": zip(
            alone, map(probability, in_pieces(model, texts, rng, 1)), strict=True
        ),
        "whole, random pieces": zip(alone, map(probability, in_pieces(model, texts, rng, 9)), strict=True),
    }
    lines = []
    for name, pair in pairs.items():
        gaps = np.concatenate([np.abs(a - b).ravel() for a, b in pair])
        lines.append(f"{name}: max {gaps.max():.2e}, mean {gaps.mean():.2e}")
    for name, lanes, new, past in SHAPES:
        rate = tokens_a_second(model, lanes, new, past, args.seconds)
        lines.append(f"{name}, past {past}, {args.threads} thread: {rate:,.0f} tokens/s")
    print("\n".join(lines))
    if args.output:
        args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
