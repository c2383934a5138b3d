"""A pack on disk without a network, and everything a stream runs on without a model."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from guardrail.observer import SilentObserver
from guardrail.policy.rules import CategoryRules, Policy, RoleRules
from guardrail.testing.composers import PlainComposer
from guardrail.testing.scorers import KeywordScorer
from guardrail.transports.services import Services

WORDS = {
    "doom": {"violence": 0.95},
    "grim": {"violence": 0.6},
    "tears": {"mental_distress": 0.9},
    "odd": {"sexual": 0.9},
}
CATEGORIES = ("violence", "mental_distress", "sexual")
POINTS = {1: 0.3, 2: 0.5, 3: 0.9}

POLICY = """\
version: 1
name: small
categories:
  violence:
    user: {interventions: {2: annotate}}
    assistant: {interventions: {2: replace, 3: replace}}
  mental_distress:
    user: {interventions: {2: redirect}, debounce_tokens: 1}
"""


def write_pack(directory: Path, *, categories=CATEGORIES, points=POINTS, **changes) -> Path:
    """A pack whose checksums are right; there is no network in it."""
    directory.mkdir(parents=True)
    files = {"model.onnx": b"no network", "tokenizer.json": b"no tokenizer"}
    for name, data in files.items():
        (directory / name).write_bytes(data)

    def entry(name, **more):
        return {"file": name, "sha256": hashlib.sha256(files[name]).hexdigest(), **more}

    both = ("user", "assistant")
    table = points if isinstance(points, dict) and set(points) == set(both) else dict.fromkeys(both, points)
    manifest = {
        "format": 1,
        "name": directory.name,
        "version": "1",
        "family": "causal",
        "license": "Apache-2.0",
        "model": entry("model.onnx", opset=17),
        "tokenizer": entry("tokenizer.json"),
        "roles": {
            "user": {"marker": "[unused1]", "head": 0},
            "assistant": {"marker": "[unused2]", "head": 1},
            "system": {"marker": "[unused3]", "head": None},
        },
        "start_token": "[CLS]",
        "max_positions": 64,
        "layers": 1,
        "heads": 1,
        "head_dim": 2,
        "categories": list(categories),
        "calibration": {r: {c: {"scale": 1.0, "offset": 0.0} for c in categories} for r in both},
        "operating_points": {r: dict.fromkeys(categories, table[r]) for r in both},
        "languages": ["en"],
        "data": "none",
    }
    # JSON is YAML, and has no aliases for what stands there twice.
    (directory / "manifest.yaml").write_text(json.dumps(manifest | changes))
    return directory


class FakeEngine(KeywordScorer):
    """A ``KeywordScorer`` where the engine would stand."""

    provider = "cpu"
    why_not_cuda = "there is no GPU in this test"

    def __init__(self, **options) -> None:
        super().__init__(WORDS, **options)
        self.closed = False

    def close(self) -> None:
        self.closed = True


def rules(interventions, thresholds, **options) -> RoleRules:
    return RoleRules(interventions=interventions, thresholds=thresholds, **options)


def services(*, scorer=None, **changes) -> Services:
    """What a stream runs on: keywords, plain words, nobody watching."""
    values = {
        "version": 1,
        "name": "test",
        "categories": {
            "violence": CategoryRules(
                user=rules({2: "annotate"}, {2: 0.5}),
                assistant=rules({2: "replace", 3: "replace"}, {2: 0.5, 3: 0.9}),
            ),
            "mental_distress": CategoryRules(user=rules({2: "redirect"}, {2: 0.5}, debounce_tokens=1)),
            "sexual": CategoryRules(assistant=rules({1: "annotate"}, {1: 0.5}, debounce_tokens=1)),
        },
    }
    return Services(
        scorer or KeywordScorer(WORDS),
        Policy(**(values | changes)),
        PlainComposer(),
        SilentObserver(),
        time.monotonic,
    )


def write_rows(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_answers(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
